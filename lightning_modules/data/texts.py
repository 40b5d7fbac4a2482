"""Files of labelled texts as data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from lightning_modules.data.files import check_file
from lightning_modules.data.preprocessor import Preprocessor
from lightning_modules.data.source import Contents, Rows, SplitSource
from lightning_modules.data.vocabulary import TextPreprocessor
from lightning_modules.errors import DataError

# The label ends at the first colon or white space; what is glued to the colon is a finer label.
_LINE = re.compile(r"(?P<label>[^\s:]+)(?::\S*)?(?:\s+(?P<text>.*))?")


@dataclass(frozen=True, kw_only=True)
class TextSource(SplitSource):
    """A file of lines `LABEL text`, or `COARSE:fine text` of which COARSE counts; empty lines are skipped.

    Attributes:
        path: The file.
        test_path: A file of the same kind that is the test split.
        encoding: Of both files, such as `utf-8` or `latin-1`.
        min_frequency: Words seen less often in training are `<unk>`.
        max_vocabulary: Largest vocabulary, `<pad>` and `<unk>` included.
        max_length: Words that are kept of a text.
    """

    path: Path
    test_path: Path | None = None
    encoding: str = "utf-8"
    min_frequency: int = 2
    max_vocabulary: int = 20_000
    max_length: int = 64

    label_field: ClassVar[str | None] = "path"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, least in (("min_frequency", 1), ("max_vocabulary", 3), ("max_length", 1)):
            value = getattr(self, field)
            if value < least:
                raise DataError(f"{field} >= {least} must hold, got {value}: raise it", field=field)

    def _read(self) -> Contents:
        rows = read_labelled_texts(Path(self.path), encoding=self.encoding, field="path")
        test = None
        if self.test_path is not None:
            test = read_labelled_texts(Path(self.test_path), encoding=self.encoding, field="test_path")
        return Contents(rows=rows, test=test, task="classification")

    def _fit(self, train: Rows) -> Preprocessor:
        return TextPreprocessor.fit(
            train.raw,
            min_frequency=self.min_frequency,
            max_vocabulary=self.max_vocabulary,
            max_length=self.max_length,
        )


def read_labelled_texts(path: Path, *, encoding: str, field: str) -> Rows:
    """Read lines of a label and a text.

    Raises:
        DataError: The file is absent or empty, is not in the encoding, or a line has no label.
    """
    check_file(path, field=field)
    labels, texts = [], []
    try:
        with path.open(encoding=encoding) as file:
            for number, line in enumerate(file, start=1):
                stripped = line.removeprefix("\ufeff").strip()
                if not stripped:
                    continue
                match = _LINE.fullmatch(stripped)
                if match is None:
                    raise DataError(
                        f"a line is a label and a text, line {number} of {path} has no label: {stripped[:60]!r}: "
                        "write LABEL text",
                        field=field,
                    )
                labels.append(match["label"])
                texts.append(match["text"] or "")
    except UnicodeDecodeError as error:
        other = "latin-1" if encoding.lower().startswith("utf") else "utf-8"
        raise DataError(
            f"{path} must be in the encoding {encoding!r}, it has byte 0x{error.object[error.start]:02x} "
            f"({error.reason}): try encoding: {other}",
            field="encoding",
        ) from error
    except LookupError as error:
        raise DataError(
            f"an encoding is one that Python knows, got {encoding!r}: try utf-8 or latin-1", field="encoding"
        ) from error
    if not labels:
        raise DataError(f"the file must hold lines, {path} has empty ones only: write it again", field=field)
    return Rows(raw=texts, target=np.asarray(labels, dtype=object))
