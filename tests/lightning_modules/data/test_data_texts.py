"""Labelled texts and their vocabulary."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightning_modules.data import TextPreprocessor, TextSource, TrainingData, preprocessor_from_dict
from lightning_modules.data.vocabulary import split_words
from lightning_modules.errors import DataError

DATA = Path(os.environ.get("TUNELADDER_DATA", Path(__file__).parents[3] / "../shared/data"))
needs_trec = pytest.mark.skipif(not (DATA / "trec").is_dir(), reason="no trec folder: set TUNELADDER_DATA")


def _trec(**fields: Any) -> TextSource:
    return TextSource(
        path=DATA / "trec/train_5500.label",
        **{"test_path": DATA / "trec/TREC_10.label", "encoding": "latin-1", **fields},
    )


@pytest.fixture(scope="module")
def trec() -> TrainingData:
    return _trec().read_training()


@needs_trec
def test_trecs_questions_have_six_coarse_classes(trec: TrainingData) -> None:
    info = trec.info
    assert info.class_names == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    assert info.num_train + info.num_validation == 5_452
    totals = np.bincount(trec.train.target) + np.bincount(trec.validation.target)
    assert totals.tolist() == [86, 1162, 1250, 1223, 835, 896]
    test = _trec().read_test()
    assert np.bincount(test.target).tolist() == [9, 138, 94, 65, 81, 113]


@needs_trec
def test_the_share_of_unknown_words_is_measured_on_each_split(trec: TrainingData) -> None:
    for split in (trec.train, trec.validation, _trec().read_test()):
        tokens, lengths = split.inputs["tokens"], split.inputs["lengths"]
        assert split.unknown_ratio == (tokens == 1).sum() / lengths.sum()
    assert trec.train.unknown_ratio < trec.validation.unknown_ratio < 0.3
    assert _trec(min_frequency=20).read_training().validation.unknown_ratio > trec.validation.unknown_ratio


@needs_trec
def test_a_file_in_another_encoding_names_both_encodings() -> None:
    with pytest.raises(DataError, match=r"encoding: .*must be in the encoding 'utf-8', .*try encoding: latin-1"):
        _trec(encoding="utf-8").read_training()


def test_words_are_lower_case_with_marks_on_their_own() -> None:
    assert split_words("It's 3 km -- to Köln.") == ["it's", "3", "km", "-", "-", "to", "köln", "."]


def test_the_vocabulary_goes_by_frequency_then_by_alphabet() -> None:
    texts = ["b a c", "b c", "b d", "a c", "e"]
    fit = TextPreprocessor.fit
    all_words = fit(texts, min_frequency=1, max_vocabulary=100, max_length=5)
    assert all_words.words == ("<pad>", "<unk>", "b", "c", "a", "d", "e")
    assert fit(texts, min_frequency=2, max_vocabulary=100, max_length=5).words[2:] == ("b", "c", "a")
    assert fit(texts, min_frequency=1, max_vocabulary=4, max_length=5).words[2:] == ("b", "c")


def test_texts_become_codes_padded_with_zero_and_cut_at_the_longest() -> None:
    preprocessor = TextPreprocessor(words=("<pad>", "<unk>", "how", "far"), max_length=3)
    inputs = preprocessor.transform(["How far", "far how far away", "", "  ", "<pad>"])
    np.testing.assert_array_equal(inputs["tokens"], [[2, 3, 0], [3, 2, 3], [1, 0, 0], [1, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(inputs["lengths"], [2, 3, 1, 1, 3])
    assert preprocessor.unknown_ratio(inputs) == 5 / 10


def test_raw_texts_become_the_same_inputs_through_the_stored_document(tmp_path: Path) -> None:
    path = tmp_path / "texts"
    path.write_text("".join(f"{'AB'[i % 2]}:x word{i % 5} und Wort{i % 3}\n" for i in range(40)))
    data = TextSource(path=path, max_length=8).read_training()
    preprocessor = preprocessor_from_dict(json.loads(json.dumps(data.preprocessing)))
    inputs = preprocessor.transform([f"word{i % 5} und Wort{i % 3}" for i in range(40)])
    known = {row.tobytes() for row in inputs["tokens"]}
    assert all(row.tobytes() in known for row in data.train.inputs["tokens"])
    assert data.info.vocabulary_size == len(preprocessor.to_dict()["words"])
    assert data.info.max_length == 8


def test_a_word_that_only_other_splits_know_is_unknown(tmp_path: Path) -> None:
    path, test_path = tmp_path / "texts", tmp_path / "test"
    path.write_text("".join(f"{'AB'[i % 2]} own{i} common\n" for i in range(40)))
    test_path.write_text("A newcomer common\n")
    source = TextSource(path=path, test_path=test_path, min_frequency=1)
    data = source.read_training()
    assert "newcomer" not in data.preprocessing["words"]
    assert data.info.vocabulary_size == 2 + 1 + data.info.num_train
    assert set(data.validation.inputs["tokens"][:, 0]) == {1}
    assert source.read_test().inputs["tokens"][0, :3].tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("line", "label", "text"),
    [
        ("NUM:dist How far is it ?", "NUM", ["how", "far", "is", "it", "?"]),
        ("NUM How far: a mile ?", "NUM", ["how", "far", ":", "a", "mile", "?"]),
        ("NUM: How far", "NUM", ["how", "far"]),
        ("NUM\tHow far", "NUM", ["how", "far"]),
        ("\ufeffNUM How far", "NUM", ["how", "far"]),
        ("NUM", "NUM", ["<unk>"]),
    ],
)
def test_a_label_ends_at_the_first_colon_or_white_space(
    tmp_path: Path, line: str, label: str, text: list[str]
) -> None:
    path, test_path = tmp_path / "texts", tmp_path / "test"
    words = " ".join(word for word in text if word != "<unk>")
    path.write_text("\n\n".join(f"{name} {words}" for name in ("NUM", "LOC") for _ in range(10)))
    test_path.write_text(line + "\r\n", encoding="utf-8", newline="")
    source = TextSource(path=path, test_path=test_path, min_frequency=1)
    info, test = source.read_training().info, source.read_test()
    vocabulary = source.read_training().preprocessing["words"]
    assert [info.class_names[code] for code in test.target] == [label]
    assert [vocabulary[code] for code in test.inputs["tokens"][0, : test.inputs["lengths"][0]]] == text


GOOD = "A one\nB two\n" * 9
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "empty": ("", {}, "path: the file must hold data, .*texts is empty"),
    "blank": ("\n \n", {}, "path: the file must hold lines"),
    "no label": (
        GOOD + ":x three\n",
        {},
        "path: a line is a label and a text, line 19 of .* ':x three': write LABEL",
    ),
    "one class": ("A one\n" * 9, {}, "path: classification needs at least 2 classes, got 'A'"),
    "rare class": (GOOD + "C three\n", {}, "path: every class needs at least 3 examples, .* got 1 of class 'C'"),
    "unknown encoding": (GOOD, {"encoding": "utf-9"}, "encoding: .* got 'utf-9': try utf-8 or latin-1"),
    "min_frequency": (GOOD, {"min_frequency": 0}, "min_frequency >= 1 must hold, got 0"),
    "max_vocabulary": (GOOD, {"max_vocabulary": 2}, "max_vocabulary >= 3 must hold, got 2"),
    "max_length": (GOOD, {"max_length": 0}, "max_length >= 1 must hold, got 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_text_file_is_answered_with_rule_value_and_remedy(case: str, tmp_path: Path) -> None:
    text, fields, message = WRONG[case]
    path = tmp_path / "texts"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        TextSource(path=path, **fields).read_training()


def test_a_test_label_that_training_never_saw_is_told_before_the_search(tmp_path: Path) -> None:
    (tmp_path / "texts").write_text(GOOD)
    (tmp_path / "test").write_text("A one\nZ two\n")
    with pytest.raises(
        DataError,
        match="test_path: the test split must hold classes of the training split only, got 1 rows of 'Z'",
    ):
        TextSource(path=tmp_path / "texts", test_path=tmp_path / "test").read_training()


def test_many_unknown_words_are_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "texts").write_text("".join(f"{'AB'[i % 2]} only{i}\n" for i in range(40)))
    source = TextSource(path=tmp_path / "texts")
    for split, read in (("validation", source.read_training), ("test", source.read_test)):
        caplog.clear()
        read()
        assert f"100 % of the {split} split's words are unknown: lower min_frequency" in caplog.text
        assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("one text", "texts are given as a list, got one text 'one text'"),
        (["a", None], "got None .NoneType. in row 2"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(raw: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TextPreprocessor(words=("<pad>", "<unk>"), max_length=3).transform(raw)


def test_a_document_that_this_version_does_not_know_is_refused() -> None:
    with pytest.raises(DataError, match=r"kind: preprocessing is of kind .*, text, series, got 'sound'"):
        preprocessor_from_dict({"kind": "sound"})
    document = TextPreprocessor(words=("<pad>", "<unk>"), max_length=3).to_dict() | {"tokenizer": "other-9"}
    with pytest.raises(DataError, match="made by tokenizer 'other-9', this version has 'lower-words-1'"):
        preprocessor_from_dict(document)
