import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, MultiStepLR, OneCycleLR, ReduceLROnPlateau

from lightning_modules.errors import ConfigError
from lightning_modules.recipe import Recipe
from lightning_modules.schedules import SCHEDULES, make_schedule, preview

STEPS, EPOCHS = 5, 8
PER_EPOCH = {"step", "exponential", "plateau"}


def _optimizer(lr: float = 0.1) -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def _run(scheduler, optimizer, *, interval: str, epochs: int = EPOCHS) -> list[float]:
    """List the learning rate of each step as a training loop would take them."""
    rates = []
    for _ in range(epochs):
        for _ in range(STEPS):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if interval == "step":
                scheduler.step()
        if interval == "epoch":
            scheduler.step()
    return rates


TORCHS = {
    "cosine": lambda o: CosineAnnealingLR(o, T_max=STEPS * EPOCHS),
    "step": lambda o: MultiStepLR(o, milestones=[EPOCHS // 2, EPOCHS * 3 // 4], gamma=0.1),
    "exponential": lambda o: ExponentialLR(o, gamma=0.01 ** (1 / EPOCHS)),
}


@pytest.mark.parametrize("name", TORCHS)
def test_a_schedule_equals_torchs_own(name):
    optimizer = _optimizer()
    expected = _run(TORCHS[name](optimizer), optimizer, interval="epoch" if name in PER_EPOCH else "step")
    ours = preview(Recipe(schedule=name, lr=0.1), steps_per_epoch=STEPS, max_epochs=EPOCHS)
    assert ours == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_one_cycle_equals_torchs_own():
    optimizer = _optimizer()
    torchs = OneCycleLR(optimizer, max_lr=0.1, total_steps=STEPS * EPOCHS, cycle_momentum=False)
    expected = [optimizer.param_groups[0]["lr"]]
    for _ in range(STEPS * EPOCHS - 1):  # torch's raises at one step more
        optimizer.step()
        torchs.step()
        expected.append(optimizer.param_groups[0]["lr"])
    ours = preview(Recipe(schedule="one_cycle", lr=0.1), steps_per_epoch=STEPS, max_epochs=EPOCHS)
    assert ours == pytest.approx(expected, rel=1e-6, abs=1e-12)


class _Falling:
    """A plateau's scheduler that is told of a loss which falls in every epoch."""

    def __init__(self, plateau):
        self.plateau, self.loss = plateau, 1.0

    def step(self):
        self.loss *= 0.9
        self.plateau.step(self.loss)


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_the_preview_without_a_fall_is_what_training_sees(name):
    recipe, optimizer = Recipe(schedule=name, lr=0.1), _optimizer()
    made = make_schedule(optimizer, recipe, steps_per_epoch=STEPS, max_epochs=EPOCHS)
    scheduler = None if made is None else _Falling(made["scheduler"])
    seen = _run(scheduler, optimizer, interval="" if made is None else "epoch")
    assert seen == preview(recipe, steps_per_epoch=STEPS, max_epochs=EPOCHS)


@pytest.mark.parametrize("name", sorted(set(SCHEDULES) - {"constant", "plateau"}))
def test_the_preview_is_what_training_sees(name):
    recipe, optimizer = Recipe(schedule=name, lr=0.1, warmup_epochs=2), _optimizer()
    made = make_schedule(optimizer, recipe, steps_per_epoch=STEPS, max_epochs=EPOCHS)
    assert made["interval"] == ("epoch" if name in PER_EPOCH else "step")
    seen = _run(made["scheduler"], optimizer, interval=made["interval"])
    assert seen == pytest.approx(preview(recipe, steps_per_epoch=STEPS, max_epochs=EPOCHS))


def test_constant_needs_no_scheduler():
    recipe = Recipe(schedule="constant", lr=0.1)
    assert make_schedule(_optimizer(), recipe, steps_per_epoch=STEPS, max_epochs=EPOCHS) is None
    assert preview(recipe, steps_per_epoch=STEPS, max_epochs=EPOCHS) == [0.1] * 40


def test_plateau_halves_when_the_validation_loss_stands_still():
    optimizer = _optimizer()
    made = make_schedule(optimizer, Recipe(schedule="plateau", lr=0.1), steps_per_epoch=STEPS, max_epochs=20)
    assert isinstance(made["scheduler"], ReduceLROnPlateau)
    assert (made["monitor"], made["interval"]) == ("val_loss", "epoch")
    rates = []
    for loss in (1.0, 0.5, 0.5, 0.5, 0.5):
        made["scheduler"].step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.1, 0.1, 0.1, 0.1, 0.05]


@pytest.mark.parametrize("name", ["warmup_cosine", "warmup_linear"])
def test_a_warm_up_rises_linearly_to_the_peak_and_falls_from_there(name):
    rates = preview(Recipe(schedule=name, lr=0.1, warmup_epochs=2), steps_per_epoch=STEPS, max_epochs=EPOCHS)
    assert rates[:11] == pytest.approx([0.1 * (i + 1) / 11 for i in range(11)])
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.005


def test_a_warm_up_longer_than_half_of_the_trial_is_cut_with_a_warning():
    with pytest.warns(UserWarning, match="cut to half of the trial: 6 asked, 4 epochs in all"):
        rates = preview(
            Recipe(schedule="warmup_linear", lr=0.1, warmup_epochs=6), steps_per_epoch=STEPS, max_epochs=4
        )
    assert rates.index(max(rates)) == 10


@pytest.mark.parametrize("name", sorted(set(SCHEDULES) - {"constant", "plateau"}))
@pytest.mark.parametrize("cut", [1, 3])
def test_a_trial_cut_into_legs_follows_the_same_curve(name, cut, tmp_path):
    recipe = Recipe(schedule=name, lr=0.1, warmup_epochs=2)
    optimizer = _optimizer()
    made = make_schedule(optimizer, recipe, steps_per_epoch=STEPS, max_epochs=EPOCHS)
    first = _run(made["scheduler"], optimizer, interval=made["interval"], epochs=cut)
    torch.save((optimizer.state_dict(), made["scheduler"].state_dict()), tmp_path / "leg.pt")
    other = _optimizer()
    resumed = make_schedule(other, recipe, steps_per_epoch=STEPS, max_epochs=EPOCHS)
    optimizer_state, scheduler_state = torch.load(tmp_path / "leg.pt", weights_only=True)
    other.load_state_dict(optimizer_state)
    resumed["scheduler"].load_state_dict(scheduler_state)
    second = _run(resumed["scheduler"], other, interval=resumed["interval"], epochs=EPOCHS - cut)
    assert first + second == pytest.approx(preview(recipe, steps_per_epoch=STEPS, max_epochs=EPOCHS))


def test_a_plateau_resumes_with_its_patience(tmp_path):
    recipe = Recipe(schedule="plateau", lr=0.1)
    optimizer, other = _optimizer(), _optimizer()
    made, resumed = (
        make_schedule(o, recipe, steps_per_epoch=1, max_epochs=10)["scheduler"] for o in (optimizer, other)
    )
    for loss in (1.0, 1.0):
        made.step(loss)
    torch.save(made.state_dict(), tmp_path / "plateau.pt")
    resumed.load_state_dict(torch.load(tmp_path / "plateau.pt", weights_only=True))
    resumed.step(1.0)
    assert other.param_groups[0]["lr"] == 0.05


@given(
    name=st.sampled_from(sorted(SCHEDULES)), steps=st.integers(1, 7),
    epochs=st.integers(1, 12), warmup=st.floats(0, 0.5),
)  # fmt: skip
def test_every_step_of_any_trial_has_a_learning_rate_between_0_and_the_peak(name, steps, epochs, warmup):
    recipe = Recipe(schedule=name, lr=0.3, warmup_epochs=warmup)
    rates = preview(recipe, steps_per_epoch=steps, max_epochs=epochs)
    assert len(rates) == steps * epochs
    assert all(0 < rate <= 0.3 + 1e-12 for rate in rates)


def test_a_trial_without_steps_is_refused():
    with pytest.raises(ConfigError, match="at least one step, got steps_per_epoch=0, max_epochs=3"):
        preview(Recipe(), steps_per_epoch=0, max_epochs=3)


def test_every_schedule_is_described():
    for entry in SCHEDULES.values():
        assert all((entry.formula, entry.range, entry.used_for, entry.source))
