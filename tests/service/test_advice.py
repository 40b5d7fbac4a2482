"""Warnings about a spec: of what a person chose, and of nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_modules.data.base import DataInfo
from search_spaces import get_space
from service.advice import warnings_of
from service.documents import parse_spec

SIZES: dict[str, Any] = {"task": "classification", "num_outputs": 3, "num_train": 90, "num_validation": 10}
INFO = {
    "mlp": DataInfo(kind="tabular", num_features=4, cardinalities=(3,), **SIZES),
    "cnn": DataInfo(kind="image", image_shape=(1, 8, 8), **SIZES),
    "rnn": DataInfo(kind="text", vocabulary_size=9, max_length=5, **SIZES),
}


def advice(family: str, *, model: dict[str, Any] | None = None, space: dict[str, Any] | None = None) -> list[str]:
    body = {"family": family, "data": {"name": "wine"}, "model": model or {}, "search": {"space": space or {}}}
    spec = parse_spec(body)
    searched = get_space(family).override(spec.search.space).without(list(spec.model))
    return list(warnings_of(spec, searched, INFO[family], fixed=spec.model))


@pytest.mark.parametrize("family", INFO)
def test_a_family_as_it_is_has_no_warning(family: str) -> None:
    assert advice(family) == []


@pytest.mark.parametrize("family", INFO)
def test_a_default_that_nobody_wrote_is_not_warned_about(family: str) -> None:
    """momentum, warmup_epochs and others have no effect by default."""
    assert advice(family, model={"lr": 0.01}) == []


def test_a_fixed_setting_without_effect_is_named_under_model() -> None:
    (text,) = advice("mlp", model={"momentum": 0.8, "optimizer": "adam"})
    assert text == "model.momentum: has no effect with optimizer adam"


def test_a_setting_that_some_trial_uses_is_left_alone() -> None:
    """The optimizer is searched: some trials have momentum."""
    assert advice("mlp", model={"momentum": 0.8}) == []


def test_a_searched_setting_without_effect_is_named_under_search_space() -> None:
    (text,) = advice("mlp", model={"block": "swiglu"})
    assert text.startswith("search.space.activation: has no effect with block swiglu")


def test_what_harms_is_looked_for_at_the_edges_of_a_range() -> None:
    texts = advice("mlp", model={"depth": 10}, space={"activation": {"choices": ["relu", "sigmoid"]}})
    assert len(texts) == 1
    assert texts[0].startswith("search.space.activation: sigmoid in 10 hidden layers passes at most 0.25^10")


def test_much_dropout_is_named_where_batch_norm_is_fixed() -> None:
    (text,) = advice("mlp", model={"norm": "batch"})
    assert text.startswith("search.space.dropout: 0.6 shifts the variance")
    assert advice("mlp", model={"norm": "layer"}) == []
    assert advice("mlp", model={"norm": "batch"}, space={"dropout": {"high": 0.3}}) == []
