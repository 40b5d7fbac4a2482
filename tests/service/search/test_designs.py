"""Where the learning rate is searched when something beside it changes: around scaling rules, never at them."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_modules.optimizers import OPTIMIZERS
from search_spaces import Value, get_space
from search_spaces.scaling import OPTIMIZER_FACTORS
from service.documents import parse_spec
from service.search import make_plan
from service.search.designs import LR_SPREAD, stage_designs


def designs_of_batch_sizes(fixed: dict[str, Value], **base: Value) -> list[dict[str, Value]]:
    space = get_space("mlp").without(list(fixed))
    params = {**space.defaults(), "lr": 3e-3, "batch_size": 64, **base}
    return stage_designs(
        space, ("batch_size", "lr"), 8, base=params, generator=np.random.default_rng(0), fixed=fixed
    )


@pytest.mark.parametrize(
    ("optimizer", "is_fixed", "power"),
    [("adamw", False, 0.5), ("rmsprop", False, 0.5), ("nesterov", False, 1.0), ("sgd", True, 1.0)],
)
def test_rates_lie_around_the_centre_that_the_optimizers_rule_gives(
    optimizer: str, is_fixed: bool, power: float
) -> None:
    fixed: dict[str, Value] = {"optimizer": optimizer} if is_fixed else {}
    designs = designs_of_batch_sizes(fixed, **({} if is_fixed else {"optimizer": optimizer}))
    ratios = [float(d["lr"]) / (3e-3 * (float(d["batch_size"]) / 64) ** power) for d in designs]
    assert all(1 / LR_SPREAD <= ratio <= LR_SPREAD for ratio in ratios)
    assert min(ratios) < 0.5
    assert max(ratios) > 2.0
    assert len({design["batch_size"] for design in designs}) > 2


def test_a_fixed_optimizer_is_part_of_the_plan() -> None:
    spec = parse_spec({"family": "mlp", "data": {"name": "digits"}, "model": {"optimizer": "sgd"}})
    space = get_space("mlp").without(["optimizer"])
    assert make_plan(spec, space, metric="val_accuracy", mode="max").optimizer == "sgd"


def test_every_optimizer_of_the_recipe_has_its_scale() -> None:
    assert set(OPTIMIZER_FACTORS) == set(OPTIMIZERS)
