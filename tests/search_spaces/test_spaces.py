"""Families' spaces and the documented priority."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import (
    DEFAULT_ORDER,
    PRIORITIES,
    SPACES,
    Choice,
    Condition,
    Float,
    SearchSpace,
    SpaceError,
    get_space,
    outline_stages,
    scaled_learning_rate,
)
from search_spaces.scaling import OPTIMIZER_FACTORS


def test_the_documented_order_is_the_order() -> None:
    assert DEFAULT_ORDER == (
        "lr",
        "dropout",
        "width",
        "batch_size",
        "weight_decay",
        "embedding_dim",
        "optimizer",
        "activation",
    )
    assert all(priority.why for priority in PRIORITIES)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_every_range_has_a_reason_and_a_source(space: SearchSpace) -> None:
    for parameter in (*space, *space.optional):
        assert len(parameter.why) > 20, parameter.name
        assert parameter.source, parameter.name


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_a_space_survives_yaml_and_json(space: SearchSpace) -> None:
    assert SearchSpace.from_dict(yaml.safe_load(yaml.safe_dump(space.to_dict()))) == space
    assert SearchSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_the_stages_of_a_family_follow_the_order_one_or_two_at_a_time(space: SearchSpace) -> None:
    stages = outline_stages(space)
    names = [stage.name for stage in stages]
    assert names[0] == "lr"
    assert [name for name in names if name in DEFAULT_ORDER] == [n for n in DEFAULT_ORDER if n in space.names]
    assert sorted(names) == sorted(space.names)
    assert all(1 <= len(stage.opens) <= 2 and stage.why for stage in stages)


def test_what_is_optional_is_searched_last_and_only_where_it_is_named() -> None:
    space = get_space("cnn")
    assert "rotation" not in space.names
    named = space.override({"rotation": {}, "mixup": {"high": 0.2}, "lr": {"high": 0.05}})
    assert [stage.name for stage in outline_stages(named)][-2:] == ["rotation", "mixup"]
    assert named["rotation"].default == 0
    assert named["mixup"].text() == "0 .. 0.2"
    assert outline_stages(named)[: len(space)] == outline_stages(space)
    assert "rotation" not in {parameter.name for parameter in named.optional}


def test_a_misspelt_optional_parameter_is_refused_with_its_name() -> None:
    with pytest.raises(SpaceError, match="cutuot: unknown parameter: did you mean 'cutout'"):
        get_space("cnn").override({"cutuot": {}})


def test_every_augmentation_is_off_by_default_in_a_search() -> None:
    for space in SPACES.values():
        assert all(parameter.default == 0 for parameter in space.optional)


def test_what_interacts_with_the_learning_rate_opens_it_again() -> None:
    opens = {stage.name: stage.opens for stage in outline_stages(get_space("mlp"))}
    assert opens["batch_size"] == ("batch_size", "lr")
    assert opens["optimizer"] == ("optimizer", "lr")
    assert opens["activation"] == ("activation",)


def test_an_order_of_ones_own_comes_first() -> None:
    names = [stage.name for stage in outline_stages(get_space("mlp"), ("norm", "lr"))]
    assert names[:3] == ["norm", "lr", "dropout"]


def test_an_order_with_an_unknown_name_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"order: the order names parameters of the space, got 'lrr'"):
        outline_stages(get_space("mlp"), ("lrr",))


@given(st.sampled_from(sorted(SPACES)), st.randoms())
def test_any_sample_is_complete_and_inside(name: str, random) -> None:
    space = SPACES[name]
    params = space.complete({p.name: p.from_unit(random.random()) for p in space})
    assert set(params) == set(space.names)
    assert all(space[key].contains(value) for key, value in params.items())
    assert space.complete(params) == params


def test_an_inactive_parameter_stands_at_its_default() -> None:
    rnn = get_space("rnn")
    assert rnn.complete({"cell": "vanilla", "activation": "relu"})["activation"] == "relu"
    assert rnn.complete({"cell": "lstm", "activation": "relu"})["activation"] == "tanh"


def test_a_value_outside_its_range_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"lr: a value lies in .*, got 7"):
        get_space("mlp").complete({"lr": 7})


def test_an_unknown_parameter_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SpaceError, match="did you mean 'dropout'"):
        get_space("mlp").override({"dropuot": {"low": 0.1}})


def test_a_condition_on_a_missing_parameter_is_refused() -> None:
    with pytest.raises(SpaceError, match="a condition names parameters of the space, got 'b'"):
        SearchSpace(
            name="x",
            parameters=(Choice(name="a", choices=(1, 2), default=1, why="given"),),
            conditions=(Condition(parameter="a", when="b", values=(1,)),),
        )


def test_fixing_a_parameter_drops_it_with_its_conditions() -> None:
    fixed = get_space("rnn").without(["cell"])
    assert "cell" not in fixed.names
    assert fixed.is_active("activation", {})


def test_the_learning_rate_scales_with_batch_size_and_optimizer() -> None:
    before = {"optimizer": "adamw", "batch_size": 64}
    scale = lambda **after: scaled_learning_rate(1e-3, before=before, after=before | after)  # noqa: E731
    assert scale(batch_size=256) == pytest.approx(2e-3)  # square root for adaptive optimizers
    assert scale(optimizer="momentum") == pytest.approx(1e-2)
    assert scale(optimizer="sgd", batch_size=128) == pytest.approx(0.2)  # linear for SGD kinds


@pytest.mark.parametrize("optimizer", list(OPTIMIZER_FACTORS))
def test_a_batch_four_times_as_large_wants_four_times_the_rate_of_sgd_kinds_and_twice_that_of_adam_kinds(
    optimizer: str,
) -> None:
    before, after = ({"optimizer": optimizer, "batch_size": size} for size in (32, 128))
    factor = 4.0 if optimizer in ("sgd", "momentum", "nesterov") else 2.0
    assert scaled_learning_rate(1e-3, before=before, after=after) == pytest.approx(factor * 1e-3)
    assert scaled_learning_rate(factor * 1e-3, before=after, after=before) == pytest.approx(1e-3)


def test_two_parameters_of_one_name_are_refused() -> None:
    lr = Float(name="lr", low=0.0, high=1.0, default=0.5, why="given")
    with pytest.raises(SpaceError, match="parameters have different names"):
        SearchSpace(name="x", parameters=(lr, lr))
