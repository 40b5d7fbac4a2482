"""A leg's result: pure, one result a member, and one member's failure is its own."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import own_networks
import pytest
import torch
from own_networks import Anything, Line, PixelNet, Points, Stopping, Untested
from ray import cloudpickle

from lightning_modules.checkpointing import best_state, read_checkpoint
from lightning_modules.data import BuiltinSource, Split, TrainingData
from lightning_modules.task import build_task
from service import own_code
from service.engine.train import LegContext, evaluate, train_leg
from service.legs import Leg, Member, MemberResult
from service.own_code import OwnDataModule, sort_arguments

DIGITS = BuiltinSource(name="digits", validation_fraction=0.15, test_fraction=0.55, split_seed=0)
OWN_DATA = OwnDataModule(module="own_networks:Points", params={"num_rows": 60})


@pytest.fixture(scope="module")
def digits() -> TrainingData:
    return DIGITS.read_training()


@pytest.fixture(scope="module")
def test_split() -> Split:
    return DIGITS.read_test()


@pytest.fixture
def _fresh_points() -> Iterator[None]:
    own_code._datamodules.clear()
    Points.made, Points.num_prepared, Points.splits, Anything.seen = [], 0, [], []
    yield
    own_code._datamodules.clear()


def mlp(data: TrainingData, **kwargs: Any) -> LegContext:
    chosen: dict[str, Any] = {"metric": "val_accuracy", "mode": "max", "max_epochs": 4, "fixed": {"width": 32}}
    return LegContext(family="mlp", data=data, **(chosen | kwargs))


def own(family: Any = "own_networks:Line", data: Any = OWN_DATA, **kwargs: Any) -> LegContext:
    chosen: dict[str, Any] = {"metric": "val_loss", "mode": "min", "max_epochs": 4}
    return LegContext(family=family, data=data, **(chosen | kwargs))


def member(number: int = 0, checkpoint: bytes | None = None, **params: Any) -> Member:
    return Member(number=number, params=params, seed=2**62 + number, checkpoint=checkpoint)


def run(context: LegContext, *members: Member, start: int = 0, end: int = 2) -> tuple[MemberResult, ...]:
    result = train_leg(context, Leg(key="r0000-e0002-c00", members=members, start_epoch=start, end_epoch=end))
    assert result.key == "r0000-e0002-c00"
    assert [m.number for m in result.members] == [m.number for m in members]
    return result.members


def run_one(context: LegContext, **params: Any) -> MemberResult:
    return run(context, member(**params))[0]


def values(result: MemberResult, metric: str = "val_loss") -> list[float | None]:
    return [measurement.metrics[metric] for measurement in result.measurements]


def test_each_member_of_a_leg_is_trained_and_learns(digits: TrainingData) -> None:
    low, high = run(mlp(digits), member(3, lr=0.01), member(7, lr=0.02, dropout=0.2, batch_size=32))
    for result in (low, high):
        assert result.state == "running"
        assert [m.epoch for m in result.measurements] == [1, 2]
        assert (values(result, "val_accuracy")[-1] or 0) > 0.7
        assert result.train_s > 0
        assert result.message is None
    assert values(low) != values(high)


@pytest.mark.parametrize("others", [(), (0,)])
def test_a_result_does_not_depend_on_the_process(digits: TrainingData, others: Sequence[int]) -> None:
    members = [member(number, lr=0.01, dropout=0.1) for number in (*others, 1)]
    first = run(mlp(digits), *members)[-1]
    torch.rand(5)
    np.random.rand(5)
    random.random()
    again = run(mlp(digits), *members)[-1]
    assert again.measurements == first.measurements
    one, two = (best_state(result.checkpoint or b"")[0] for result in (first, again))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_result_does_not_depend_on_the_other_members(digits: TrainingData) -> None:
    """Up to the rounding of sums; what is dropped is drawn from a member's own seed as well."""
    context = mlp(digits, precision="64")
    first = run(context, member(0, lr=0.01, dropout=0.3), member(1, lr=0.01, dropout=0.1))[1]
    second = run(context, member(1, lr=0.01, dropout=0.1), member(2, lr=0.1), member(3, lr=1e-4))[0]
    assert values(second) == pytest.approx(values(first), rel=1e-8)
    alone, together = (
        run(context, *members)[0]
        for members in ([member(1, dropout=0.0)], [member(1, dropout=0.0), member(2, dropout=0.5)])
    )
    assert values(together) == pytest.approx(values(alone), rel=1e-8)


def test_members_of_one_shape_are_one_network_and_others_are_trained_in_turn(digits: TrainingData) -> None:
    def fused(*members: Member) -> bool:
        leg = Leg(key="r0000-e0001-c00", members=members, start_epoch=0, end_epoch=1)
        result = train_leg(mlp(digits), leg)
        assert [one.state for one in result.members] == ["running"] * len(members)
        return result.fused

    assert fused(member(0, lr=0.01), member(1, lr=0.02, dropout=0.2, weight_decay=0.1))
    assert not fused(member(0, lr=0.01), member(1, lr=0.01, width=16))
    assert not fused(member(0, lr=0.01))


def test_the_members_seed_decides_its_weights_whatever_its_params(digits: TrainingData) -> None:
    one, other = run(mlp(digits), member(0, lr=0.01), replace(member(1, lr=0.01), seed=5))
    assert values(one) != values(other)


def test_an_augmented_trial_trains_on_other_batches_and_goes_on_as_in_one_leg(digits: TrainingData) -> None:
    context = mlp(digits, fixed={"width": 32, "rotation": 15, "lr": 0.01})
    whole = run(context, member(cutout=0.1), end=4)[0]
    first = run(context, member(cutout=0.1), end=2)[0]
    second = run(context, member(cutout=0.1, checkpoint=first.checkpoint), start=2, end=4)[0]
    assert first.measurements + second.measurements == whole.measurements
    assert values(whole) != values(run(mlp(digits, fixed={"width": 32, "lr": 0.01}), member(), end=4)[0])


def test_a_test_split_is_read_without_augmentation(digits: TrainingData, test_split: Split) -> None:
    context = mlp(digits, fixed={"width": 32, "lr": 0.01, "rotation": 180, "cutout": 0.5, "mixup": 1.0})
    checkpoint = run_one(context).checkpoint or b""
    plain = mlp(digits, fixed={"width": 32, "lr": 0.01})
    assert evaluate(context, checkpoint, {}, test_split) == evaluate(plain, checkpoint, {}, test_split)


def test_a_trial_whose_data_cannot_be_augmented_fails_with_the_reason(digits: TrainingData) -> None:
    result = run_one(mlp(digits), colour_jitter=0.4)
    assert result.state == "failed"
    assert "colour_jitter: needs images with 3 channels, got 1" in (result.message or "")


def test_legs_continue_where_the_last_one_ended(digits: TrainingData) -> None:
    whole = run(mlp(digits), member(lr=0.01), end=4)[0]
    first = run(mlp(digits), member(lr=0.01), end=2)[0]
    second = run(mlp(digits), member(lr=0.01, checkpoint=first.checkpoint), start=2, end=4)[0]
    assert first.measurements + second.measurements == whole.measurements
    assert (first.state, second.state, whole.state) == ("running", "completed", "completed")


def test_a_context_and_a_leg_travel_as_bytes(digits: TrainingData) -> None:
    context, leg = mlp(digits), Leg(key="k", members=(member(lr=0.01),), start_epoch=0, end_epoch=1)
    there = cloudpickle.loads(cloudpickle.dumps((context, leg)))
    here, away = train_leg(context, leg), pickle.loads(pickle.dumps(train_leg(*there)))
    assert away.members[0].measurements == here.members[0].measurements


def test_params_lie_over_the_fixed_settings(digits: TrainingData) -> None:
    context = mlp(digits, fixed={"width": 32, "lr": 0.5}, max_epochs=1)
    result = run(context, member(lr=0.25, schedule="constant"), end=1)[0]
    assert values(result, "lr") == [0.25]
    assert best_state(result.checkpoint or b"")[0]["network.output.weight"].shape == (10, 32)


def test_patience_and_min_delta_reach_the_training(digits: TrainingData) -> None:
    """No accuracy improves by more than 1."""
    result = run(mlp(digits, patience=1, min_delta=1.0), member(lr=0.01), end=4)[0]
    assert (result.state, len(result.measurements)) == ("completed", 2)


def test_a_bad_combination_fails_its_member_and_the_others_go_on(digits: TrainingData) -> None:
    good, typo, unfit, after = run(
        mlp(digits), member(0, lr=0.01), member(1, widht=3), member(2, loss="mse"), member(3, lr=0.02), end=1
    )
    assert (good.state, after.state) == ("running", "running")
    assert (typo.state, unfit.state) == ("failed", "failed")
    assert "ConfigError" in (typo.message or "")
    assert "did you mean 'width'" in (typo.message or "")
    assert "a loss must fit the task" in (unfit.message or "")
    assert (typo.measurements, typo.checkpoint) == ((), None)


def test_a_failure_names_the_error_and_the_last_line_of_the_persons_own_code() -> None:
    failed, good = run(own(), member(0, fail_at=1), member(1))
    assert (failed.state, good.state) == ("failed", "running")
    assert (failed.message or "").startswith(
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x3 and 2x5)"
    )
    assert "(in _give_up, own_networks.py:" in (failed.message or "")
    assert "/" not in (failed.message or "").rpartition("(in ")[2]


def test_a_diverged_member_keeps_its_measurements_with_none_for_what_is_not_finite() -> None:
    diverged, good = run(own(), member(0, nan_at=1), member(1), end=4)
    assert (diverged.state, good.state) == ("diverged", "completed")
    assert [m.epoch for m in diverged.measurements] == [1, 2]
    assert values(diverged, "train_loss")[0] is not None
    assert (values(diverged, "train_loss")[1], values(diverged)[1]) == (None, None)
    assert best_state(diverged.checkpoint or b"")[1] == 1


@pytest.mark.parametrize(("error", "raised"), [("keyboard", KeyboardInterrupt), ("exit", SystemExit)])
def test_who_ends_the_process_is_obeyed(error: str, raised: type[BaseException]) -> None:
    with pytest.raises(raised):
        run_one(own(Stopping), error=error)


def test_a_persons_module_trains_on_built_in_data_and_is_told_about_it(digits: TrainingData) -> None:
    context = own("own_networks:PixelNet", digits, fixed={"hidden": 24})
    result = run(context, member(lr=0.01, batch_size=16), end=4)[0]
    assert result.state == "completed"
    assert (values(result)[-1] or 9) < (values(result)[0] or 0)
    content = read_checkpoint(result.checkpoint or b"")
    assert content["state_dict"]["net.1.weight"].shape == (24, 64)
    assert content["global_step"] == 4 * -(-digits.info.num_train // 16)


def test_a_persons_module_on_built_in_data_gets_batches_of_64_by_default(digits: TrainingData) -> None:
    result = run_one(own(PixelNet, digits))
    assert read_checkpoint(result.checkpoint or b"")["global_step"] == 2 * -(-digits.info.num_train // 64)


@pytest.mark.usefixtures("_fresh_points")
def test_a_persons_data_module_is_made_and_prepared_once_for_the_same_arguments() -> None:
    run(own(), member(0, lr=0.1), member(1, lr=0.2))
    run(own(), member(2, lr=0.1), member(3, batch_size=8))
    assert Points.made == [{"num_rows": 60, "batch_size": 16}, {"num_rows": 60, "batch_size": 8}]
    assert Points.num_prepared == 2


@pytest.mark.usefixtures("_fresh_points")
def test_a_persons_data_module_splits_at_random_in_the_same_way_for_every_trial() -> None:
    run(own(), member(0, lr=0.1), member(1, lr=0.2))
    assert len(Points.splits) == 2
    assert Points.splits[0] == Points.splits[1]


@pytest.mark.usefixtures("_fresh_points")
def test_a_persons_classes_may_be_given_as_classes() -> None:
    by_class = own(Line, OwnDataModule(module=Points, params={"num_rows": 60}))
    assert run_one(by_class, lr=0.1).measurements == run_one(own(), lr=0.1).measurements


@pytest.mark.usefixtures("_fresh_points")
def test_a_module_with_kwargs_gets_every_hyperparameter_and_the_data_module_those_it_names() -> None:
    run_one(own(Anything, fixed={"depth": 2}), batch_size=8)
    assert Anything.seen == [{"depth": 2, "batch_size": 8}]
    assert Points.made[-1]["batch_size"] == 8


def test_a_hyperparameter_that_nobody_takes_is_an_error() -> None:
    result = run_one(own(), lr=0.1, momentum=0.9)
    assert result.state == "failed"
    assert "ValueError: each hyperparameter must be an argument of Line or Points, got momentum" in (
        result.message or ""
    )
    assert "Line takes fail_at, lr, nan_at" in (result.message or "")


def test_hyperparameters_go_to_everyone_who_names_them() -> None:
    class Module:
        def __init__(self, lr: float, size: int) -> None: ...

    class Data:
        def __init__(self, size: int, **kwargs: Any) -> None: ...

    arguments = sort_arguments({"lr": 1, "size": 2, "other": 3}, module=Module, data=Data)
    assert (arguments.module, arguments.data) == ({"lr": 1, "size": 2}, {"size": 2, "other": 3})


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("own_networks", "ValueError: an import path is module and class, got 'own_networks'"),
        ("own_networks:Missing", "ValueError: 'own_networks' must have a class 'Missing'"),
        ("no_such_module_here:Net", "ModuleNotFoundError: No module named 'no_such_module_here'"),
    ],
)
def test_a_path_that_leads_nowhere_fails_the_member_with_the_reason(family: str, message: str) -> None:
    result = run_one(own(family))
    assert result.state == "failed"
    assert message in (result.message or "")


def test_a_built_in_family_needs_built_in_data() -> None:
    result = run_one(own("mlp"), lr=0.1)
    assert "ValueError: mlp needs to know its data, got a LightningDataModule" in (result.message or "")


def test_the_winner_is_tested_with_its_best_epochs_weights(digits: TrainingData, test_split: Split) -> None:
    context, params = mlp(digits, precision="64"), {"lr": 0.01, "dropout": 0.2}
    (result,) = run(context, member(**params), end=4)
    metrics = evaluate(context, result.checkpoint or b"", params, test_split)
    reported = {"test_per_class_f1", "test_confusion_matrix"}
    assert set(metrics) == {"test_loss", "test_accuracy", "test_macro_f1", "test_auroc"} | reported
    task = build_task("mlp", {"width": 32, **params}, digits.info, max_epochs=4, steps_per_epoch=1).double()
    task.load_state_dict(best_state(result.checkpoint or b"")[0])
    image = torch.from_numpy(np.array(test_split.inputs["image"])).double()
    with torch.no_grad():
        predicted = task.eval()({"image": image}).argmax(dim=1).numpy()
    assert metrics["test_accuracy"] == pytest.approx((predicted == test_split.target).mean(), abs=1e-6)
    assert metrics["test_accuracy"] > 0.8


def test_a_persons_data_module_gives_its_own_test_split() -> None:
    context = own(max_epochs=4)
    (result,) = run(context, member(lr=0.1), end=4)
    metrics = evaluate(context, result.checkpoint or b"", {"lr": 0.1})
    assert set(metrics) == {"test_loss"}
    assert metrics == evaluate(context, result.checkpoint or b"", {"lr": 0.1}, Points(num_rows=60))


def test_what_has_no_test_gives_no_test_metrics() -> None:
    context = own(Untested)
    result = run_one(context, lr=0.1)
    assert evaluate(context, result.checkpoint or b"", {"lr": 0.1}) == {}


def test_built_in_data_must_come_with_its_test_split(digits: TrainingData) -> None:
    result = run_one(mlp(digits), lr=0.1)
    with pytest.raises(ValueError, match="a test split must be given for built-in data"):
        evaluate(mlp(digits), result.checkpoint or b"", {"lr": 0.1})


def test_the_helper_module_is_what_import_paths_name() -> None:
    assert own_code.import_class("own_networks:Line") is own_networks.Line


@pytest.mark.gpu
def test_a_leg_on_a_gpu_learns_as_on_the_cpu_and_goes_on_from_its_checkpoint(digits: TrainingData) -> None:
    on_gpu = mlp(digits, use_gpu=True)
    leg = Leg(key="r0000-e0002-c00", members=(member(lr=0.01),), start_epoch=0, end_epoch=2)
    assert train_leg(on_gpu, leg).device == torch.cuda.get_device_name()
    first, cpu = run_one(on_gpu, lr=0.01), run_one(mlp(digits), lr=0.01)
    gpu_accuracy, cpu_accuracy = values(first, "val_accuracy")[-1], values(cpu, "val_accuracy")[-1]
    assert gpu_accuracy == pytest.approx(cpu_accuracy, abs=0.05)
    second = run(on_gpu, member(lr=0.01, checkpoint=first.checkpoint), start=2, end=4)[0]
    whole = run(on_gpu, member(lr=0.01), end=4)[0]
    assert first.measurements + second.measurements == whole.measurements
