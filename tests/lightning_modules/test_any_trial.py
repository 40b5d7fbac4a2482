"""Whatever a search proposes can be trained: configs drawn from the spaces, on every kind of data of a family.

Networks have toy sizes; everything else is as drawn. What the spaces leave out (blocks, norms and so on that one
sets in `model`) is drawn in the tests of each family.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from toy_networks import SERIES, TABLE, TEXT, batch, images

from lightning_modules.data.base import DataInfo
from lightning_modules.families import FAMILIES, split_settings
from lightning_modules.losses import LOSSES
from lightning_modules.recipe import Recipe
from lightning_modules.schedules import SCHEDULES
from lightning_modules.task import SupervisedTask, build_task
from search_spaces import SPACES, SearchSpace

TOY_SHARE = {"width": 8, "embedding_dim": 8}  # toy networks are this many times narrower than what was drawn
LEAST = {"width": 4, "embedding_dim": 1}
FITTING = {"classification": ("auto", "cross_entropy", "focal"), "regression": ("auto", "mse", "mae", "huber")}
SIDE = st.integers(2, 13)
DATA = {
    "mlp": st.sampled_from([TABLE, replace(TABLE, cardinalities=()), replace(TABLE, num_features=0)])
    | st.builds(images, st.sampled_from([1, 3]), SIDE, SIDE),
    "cnn": st.builds(images, st.sampled_from([1, 3]), SIDE, SIDE)
    | st.builds(lambda length: replace(SERIES, max_length=length), st.integers(2, 17)),
    "rnn": st.sampled_from([TEXT, SERIES]),
}


@st.composite
def infos(draw: st.DrawFn, family: str) -> DataInfo:
    """Draw data of a kind that the family reads, with three classes, with two, or with values."""
    info = draw(DATA[family])
    task = draw(st.sampled_from(["three classes", "two classes", "values"]))
    if task == "values":
        return replace(info, task="regression", num_outputs=1, class_counts=())
    counts = (10, 6, 4) if task == "three classes" else (15, 5)
    return replace(info, num_outputs=len(counts), class_counts=counts)


@st.composite
def trials(draw: st.DrawFn, family: str) -> tuple[DataInfo, dict[str, Any]]:
    """Draw data and what a trial on it is built from: params of the space, and other settings of the recipe."""
    info, space = draw(infos(family)), SPACES[family]
    params = draw_params(draw, space)
    fitting = (*FITTING[info.task], *(["bce"] if info.num_outputs == 2 else []))
    recipe = {
        "schedule": draw(st.sampled_from(sorted(SCHEDULES))),
        "loss": draw(st.sampled_from(fitting)),
        "class_weights": draw(st.sampled_from(["none", "balanced"])) if info.class_counts else "none",
        "label_smoothing": draw(st.sampled_from([0.0, 0.1])),
        "clip_norm": draw(st.sampled_from([0.0, 1.0])),
        "decay_norm_and_bias": draw(st.booleans()),
    }
    toy = {name: max(LEAST[name], params[name] // share) for name, share in TOY_SHARE.items() if name in params}
    return info, {**params, **recipe, **toy}


def draw_params(draw: st.DrawFn, space: SearchSpace) -> dict[str, Any]:
    """Draw a point of the unit cube, as the search does; what does not matter stands at its default."""
    params = space.complete({p.name: p.from_unit(draw(st.floats(0, 1), label=p.name)) for p in space})
    assert space.complete(params) == params
    return params


def make_task(family: str, info: DataInfo, values: dict[str, Any], seed: int) -> SupervisedTask:
    torch.manual_seed(seed)
    return build_task(family, values, info, max_epochs=2, steps_per_epoch=3)


def draw_batch(info: DataInfo) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    inputs, target = batch(info, rows=6)
    if not info.num_features:
        inputs.pop("numeric", None)
    return inputs, torch.randn(6) if info.task == "regression" else target


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), seed=st.integers(0, 99))
def test_whatever_a_search_proposes_takes_a_step_with_finite_gradients(
    family: str, data: st.DataObject, seed: int
) -> None:
    info, values = data.draw(trials(family))
    event(f"{info.kind}, {info.task}")
    task = make_task(family, info, values, seed)
    inputs, target = draw_batch(info)
    configured: Any = task.configure_optimizers()
    optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
    loss = task.loss(task(inputs), target)
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in task.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    task.configure_gradient_clipping(optimizer)
    optimizer.step()
    for name, parameter in task.named_parameters():
        assert torch.isfinite(parameter).all(), name
    task.eval()
    with torch.no_grad():
        first, second = task(inputs), task(inputs)
    assert torch.equal(first, second), "evaluation draws nothing"
    assert torch.isfinite(first).all()


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_a_search_proposes_survives_json(family: str, data: st.DataObject) -> None:
    _, values = data.draw(trials(family))
    config, recipe = split_settings(family, values)
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    both = {**config.to_dict(), **recipe.to_dict()}
    assert split_settings(family, json.loads(json.dumps(both))) == (config, recipe)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_starts_a_search_as_it_would_be_built_without_one(family: str) -> None:
    config = FAMILIES[family].config()
    starts = {p.name: p.default for p in SPACES[family] if p.name in config.field_names()}
    assert starts == {name: getattr(config, name) for name in starts}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_space_proposes_settings_of_its_family_alone(family: str) -> None:
    known = {*FAMILIES[family].config.field_names(), *Recipe.field_names()}
    assert set(SPACES[family].names) <= known
    assert {name for names in FITTING.values() for name in names} | {"bce"} == {"auto", *LOSSES}
