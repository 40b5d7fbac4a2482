"""What is found out before the search: it decides, it is on record first, and nobody asks a second time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from search_spaces import get_space
from service.catalog import resolve
from service.context import leg_context
from service.documents import parse_spec
from service.embedded import run_job
from service.engine.local import LocalEngine
from service.engine.work import run_leg
from service.errors import InvalidSpecError, JobFailedError
from service.home import Home
from service.legs import Leg, LegResult
from service.plans import plan_job
from service.probes import default_params, probe
from service.seats import RunOptions
from service.spec import Spec
from service.store import JobState, ProbeRecord, Store

LOCAL = RunOptions(engine="local")


def spec(**changes: Any) -> Spec:
    small: dict[str, Any] = {
        "family": "mlp",
        "data": {"name": "wine"},
        "budget": {"epochs": 6, "max_epochs_per_trial": 2},
    }
    return parse_spec(small | changes)


def own_spec(**changes: Any) -> Spec:
    own: dict[str, Any] = {
        "family": {"module": "own_networks:Untested"},
        "data": {"module": "own_networks:Points", "params": {"num_rows": 60}},
        "objective": {"metric": "val_loss", "mode": "min"},
        "search": {"space": {"lr": {"low": 0.01, "high": 0.5, "log": True}}},
    }
    return spec(**(own | changes))


def probes_of(home: Path) -> tuple[ProbeRecord, ...]:
    with Store.open(Home(home).store_url()) as store:
        return store.probes(store.jobs(limit=1)[0].id)


def test_a_sound_job_has_its_check_on_record_and_in_its_result(tmp_path: Path) -> None:
    job = run_job(spec(), home=tmp_path, options=LOCAL)
    assert job.result is not None
    assert job.result["checks"]["overfit"]["outcome"] == "passed"
    (probe,) = probes_of(tmp_path)
    assert (probe.key, probe.kind) == ("overfit-0", "overfit")
    assert probe.report is not None
    assert probe.report["outcome"] == "passed"


def test_a_network_that_cannot_learn_fails_the_job_before_any_trial(tmp_path: Path) -> None:
    deep = spec(model={"depth": 10, "norm": "none", "activation": "sigmoid"})
    with pytest.raises(JobFailedError, match=r"what looks broken is the network: .*checks: \{overfit: false\}"):
        run_job(deep, home=tmp_path, options=LOCAL)
    with Store.open(Home(tmp_path).store_url()) as store:
        job = store.jobs()[0]
        assert job.state is JobState.FAILED
        assert "what looks broken is the network" in (job.message or "")
        assert store.trials(job.id) == ()


def test_a_learning_rate_that_no_trial_will_change_fails_the_job(tmp_path: Path) -> None:
    with pytest.raises(JobFailedError, match=r"the learning rate: .* raise it by far"):
        run_job(spec(model={"lr": 1e-8, "norm": "none"}), home=tmp_path, options=LOCAL)


def test_a_low_learning_rate_that_the_search_will_change_is_only_noted(tmp_path: Path) -> None:
    searched = spec(model={"norm": "none"}, search={"space": {"lr": {"low": 1e-6, "high": 0.1, "default": 1e-6}}})
    job = run_job(searched, home=tmp_path, options=LOCAL)
    assert job.result is not None
    assert job.result["checks"]["overfit"]["outcome"] == "other_lr"


def test_without_the_check_the_job_goes_on(tmp_path: Path) -> None:
    deep = spec(model={"depth": 10, "norm": "none", "activation": "sigmoid"}, checks={"overfit": False})
    job = run_job(deep, home=tmp_path, options=LOCAL)
    assert (job.state, probes_of(tmp_path)) == (JobState.COMPLETED, ())


def test_a_module_of_ones_own_is_checked_too(tmp_path: Path) -> None:
    job = run_job(own_spec(), home=tmp_path, options=LOCAL)
    assert job.result is not None
    assert job.result["checks"]["overfit"]["outcome"] == "passed"


def test_a_check_that_cannot_be_carried_out_stops_nothing(tmp_path: Path) -> None:
    """The trials say what is wrong themselves."""
    with pytest.raises(JobFailedError, match="no trial gave a finite val_loss"):
        run_job(own_spec(model={"fail_at": 0}), home=tmp_path, options=LOCAL)
    (probe,) = probes_of(tmp_path)
    assert probe.report is None
    assert "_give_up" in (probe.message or "")


class DyingEngine(LocalEngine):
    """Counts probes, and is interrupted at the first leg of trials."""

    asked: ClassVar[list[str]] = []
    dies = True

    def run(self, legs: Sequence[Leg]) -> Iterator[LegResult]:
        for leg in legs:
            if leg.kind == "train" and DyingEngine.dies:
                raise KeyboardInterrupt
            if leg.kind != "train":
                DyingEngine.asked.append(leg.key)
        return super().run(legs)


def test_a_job_that_goes_on_asks_no_probe_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.local.LocalEngine", DyingEngine)
    monkeypatch.setattr(DyingEngine, "asked", [])
    with pytest.raises(KeyboardInterrupt):
        run_job(spec(), home=tmp_path, options=LOCAL)
    before = probes_of(tmp_path)
    monkeypatch.setattr(DyingEngine, "dies", False)
    job = run_job(spec(), home=tmp_path, options=LOCAL)
    assert job.state is JobState.COMPLETED
    assert DyingEngine.asked == ["overfit-0"]
    assert probes_of(tmp_path) == before


def test_the_defaults_fit_an_optimizer_that_the_spec_fixes() -> None:
    space = get_space("mlp").without(["optimizer"])
    usual = float(space.defaults()["lr"])
    assert default_params(spec(model={"optimizer": "sgd"}), space)["lr"] == pytest.approx(100 * usual)
    assert default_params(spec(model={"optimizer": "adam"}), space)["lr"] == usual


LOW, HIGH = 1e-6, 10.0  # a guess that is far too wide


def range_tested(**changes: Any) -> Spec:
    wide = {"lr_range_test": True, "space": {"lr": {"low": LOW, "high": HIGH}}}
    return spec(search=wide, checks={"overfit": False}, **changes)


def test_a_range_test_narrows_the_first_stage_alone(tmp_path: Path) -> None:
    tested = range_tested(budget={"epochs": 60, "max_epochs_per_trial": 2})
    job = run_job(tested, home=tmp_path, options=LOCAL)
    assert job.result is not None
    found = job.result["checks"]["lr_range"]
    assert 10 * LOW < found["low"] < found["high"] < HIGH
    with Store.open(Home(tmp_path).store_url()) as store:
        trials = [trial for trial in store.trials(job.id) if trial.stage == 0]
        stages = store.stages(job.id)
    assert stages[0].opens[0] == "lr"
    rates = [trial.params["lr"] for trial in trials]
    assert rates[0] == get_space("mlp").defaults()["lr"]
    assert all(found["low"] <= rate <= found["high"] for rate in rates[1:])
    assert len(set(rates)) > 2


def test_a_range_test_has_its_seeds_on_record(tmp_path: Path) -> None:
    run_job(range_tested(), home=tmp_path, options=LOCAL)
    probes = probes_of(tmp_path)
    assert [probe.key for probe in probes] == ["lr_range-0", "lr_range-1", "lr_range-2"]
    curves = [probe.report for probe in probes if probe.report]
    assert len({tuple(curve["loss"]) for curve in curves}) == 3
    assert curves[0]["lr"][0] == pytest.approx(LOW)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"model": {"lr": 0.01}}, "search.lr_range_test", "needs a parameter lr with a logarithmic range"),
        (
            {"search": {"lr_range_test": True, "space": {"lr": {"choices": [0.1, 0.2]}}}},
            "search.lr_range_test",
            "gives it as a list",
        ),
    ],
)
def test_a_range_test_of_nothing_is_refused(
    tmp_path: Path, changes: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidSpecError, match=message) as caught:
        run_job(spec(**({"search": {"lr_range_test": True}} | changes)), home=tmp_path / "home", options=LOCAL)
    assert caught.value.field == field


def test_a_range_test_is_for_the_ladder() -> None:
    with pytest.raises(InvalidSpecError, match="lr_range_test: true is for the ladder, got strategy 'random'"):
        spec(search={"strategy": "random", "lr_range_test": True})


def test_a_probe_on_a_gpu_that_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    job = resolve(spec())
    context = replace(leg_context(job, plan_job(job)), use_gpu=True)
    result = run_leg(context, probe("overfit", job.space.defaults(), seed=0))
    assert result.members[0].state == "failed"
    assert "needs a CUDA device" in (result.members[0].message or "")
