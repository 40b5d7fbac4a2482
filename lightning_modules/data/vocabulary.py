"""Texts: words, the vocabulary that training knows, and token arrays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from lightning_modules.data.base import Kind
from lightning_modules.data.preprocessor import Array, Preprocessor
from lightning_modules.errors import DataError

PAD, UNK = "<pad>", "<unk>"
PAD_CODE, UNK_CODE = 0, 1

# Words with their inner apostrophes, or one mark of punctuation. A stored vocabulary belongs to one
# tokenizer, so the rule has a name: whoever changes the rule changes the name.
_TOKENIZER = "lower-words-1"
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def split_words(text: str) -> list[str]:
    """Split a text into lower-case words and marks: `It's 3 km.` gives it's, 3, km and the full stop."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True, kw_only=True)
class TextPreprocessor(Preprocessor):
    """A vocabulary and the number of words that are kept of a text.

    Attributes:
        words: The vocabulary in code order; `<pad>` is 0 and `<unk>` is 1.
        max_length: Longer texts are cut after this many words.
    """

    kind: ClassVar[Kind] = "text"
    words: tuple[str, ...]
    max_length: int

    @classmethod
    def fit(cls, texts: Iterable[str], *, min_frequency: int, max_vocabulary: int, max_length: int) -> Self:
        """Collect the training texts' words, frequent ones first, equally frequent ones by alphabet.

        Args:
            texts: Raw training texts.
            min_frequency: Words seen less often are `<unk>`; at least 1.
            max_vocabulary: Largest vocabulary, `<pad>` and `<unk>` included; at least 3.
            max_length: In words; at least 1.
        """
        counts = Counter(word for text in texts for word in split_words(text))
        ranked = sorted((-count, word) for word, count in counts.items() if count >= min_frequency)
        known = (word for _, word in ranked[: max_vocabulary - 2])
        return cls(words=(PAD, UNK, *known), max_length=max_length)

    @cached_property
    def _code_of(self) -> dict[str, int]:
        return {word: code for code, word in enumerate(self.words) if code > UNK_CODE}

    def transform(self, raw: Any) -> dict[str, Array]:
        """Turn texts into codes.

        Args:
            raw: A sequence of N texts; an empty text becomes one `<unk>`.

        Returns:
            `tokens`: (N, max_length) int64, zero behind a text's end; `lengths`: (N,) int64, at least 1.

        Raises:
            DataError: Something is not a text.
        """
        texts = _as_texts(raw)
        tokens = np.full((len(texts), self.max_length), PAD_CODE, dtype=np.int64)
        lengths = np.ones(len(texts), dtype=np.int64)
        for row, text in enumerate(texts):
            codes = [self._code_of.get(word, UNK_CODE) for word in split_words(text)[: self.max_length]]
            codes = codes or [UNK_CODE]
            tokens[row, : len(codes)] = codes
            lengths[row] = len(codes)
        return {"tokens": tokens, "lengths": lengths}

    def unknown_ratio(self, inputs: Mapping[str, Array]) -> float:
        """Give the share of words that are `<unk>`, padding not counted."""
        num_words = int(inputs["lengths"].sum())
        return float((inputs["tokens"] == UNK_CODE).sum() / num_words) if num_words else 0.0

    def sizes(self) -> dict[str, Any]:
        """Give `vocabulary_size` and `max_length`."""
        return {"vocabulary_size": len(self.words), "max_length": self.max_length}

    def to_dict(self) -> dict[str, Any]:
        """Give kind, tokenizer, words and max_length."""
        return {
            "kind": self.kind,
            "tokenizer": _TOKENIZER,
            "words": list(self.words),
            "max_length": self.max_length,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict()`.

        Raises:
            DataError: The vocabulary belongs to another tokenizer.
        """
        if document["tokenizer"] != _TOKENIZER:
            raise DataError(
                f"the vocabulary was made by tokenizer {document['tokenizer']!r}, this version has "
                f"{_TOKENIZER!r}: use the version that wrote it",
                field="tokenizer",
            )
        return cls(words=tuple(document["words"]), max_length=document["max_length"])


def _as_texts(raw: Any) -> Sequence[str]:
    if isinstance(raw, str):
        raise DataError(f"texts are given as a list, got one text {raw[:40]!r}: write [text]", field="text")
    texts = list(raw)
    for row, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise DataError(
                f"every row must be a text, got {text!r} ({type(text).__name__}) in row {row}: "
                "turn it into a text, or give '' for none",
                field="text",
            )
    return texts
