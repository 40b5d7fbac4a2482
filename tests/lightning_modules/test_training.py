"""Training in pieces, its record of the best epoch, its ends, and what it leaves behind in the process."""

from __future__ import annotations

import logging
import math
import os
import random
import signal
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_modules.augmentation import make_augmentation
from lightning_modules.checkpointing import best_state, read_checkpoint
from lightning_modules.data import ArrayDataModule, BuiltinSource, TrainingData
from lightning_modules.families import split_settings
from lightning_modules.seeding import seeded
from lightning_modules.task import build_task
from lightning_modules.training import TrainingOutcome, TrainingSettings, evaluate_best, train

SEED = 2**62 + 5  # as large as a trial's


@pytest.fixture(scope="module")
def digits() -> TrainingData:
    return BuiltinSource(name="digits", validation_fraction=0.15, test_fraction=0.6, split_seed=0).read_training()


class Blobs(pl.LightningDataModule):
    """A person's data: two clouds, batches from an ordinary DataLoader that draws from torch's generator."""

    def __init__(self, num_rows: int = 64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        y = torch.arange(num_rows) % 2
        x = torch.randn(num_rows, 4, generator=generator) + y[:, None]
        self.rows = TensorDataset(x, y)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.rows, batch_size=16, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.rows, batch_size=32)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.rows, batch_size=32)


class OwnNet(pl.LightningModule):
    """A person's module: draws from all generators, steps its own schedule, writes down what happens."""

    def __init__(self, scores: Sequence[float] = (), losses: Sequence[float] = ()) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
        self.scores, self.losses = scores, losses
        self.num_validations = 0
        self.total_steps: float | None = None

    def on_train_epoch_start(self) -> None:
        self.noise = torch.randn(4) * 0.1 + random.random() * 0.1 + float(np.random.rand()) * 0.1

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x + self.noise.to(x)), y)
        if self.losses:
            loss = loss * self.losses[self.current_epoch]
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self.net(x), y))

    def on_validation_epoch_end(self) -> None:
        self.num_validations += 1
        if self.scores:
            self.log("score", self.scores[self.current_epoch])

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self.log("test_loss", nn.functional.cross_entropy(self.net(x), y))

    def configure_optimizers(self) -> Any:
        self.total_steps = self.trainer.estimated_stepping_batches
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=int(self.total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def own_net(**kwargs: Any) -> OwnNet:
    with seeded(SEED):
        return OwnNet(**kwargs)


def settings(max_epochs: int = 6, metric: str = "val_loss", mode: str = "min", **kwargs: Any) -> TrainingSettings:
    return TrainingSettings(metric=metric, mode=mode, max_epochs=max_epochs, **kwargs)  # type: ignore[arg-type]


def train_own(
    chosen: TrainingSettings, start: int = 0, end: int = 6, checkpoint: bytes | None = None, **kwargs: Any
) -> TrainingOutcome:
    return train(
        own_net(**kwargs),
        Blobs(),
        settings=chosen,
        seed=SEED,
        start_epoch=start,
        end_epoch=end,
        checkpoint=checkpoint,
    )


def assert_same(left: Any, right: Any, path: str = "") -> None:
    """Compare nested dictionaries, lists and tensors, bit for bit."""
    assert type(left) is type(right), path
    if isinstance(left, dict):
        assert list(left) == list(right), path
        for key in left:
            assert_same(left[key], right[key], f"{path}/{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), path
        for index, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{path}/{index}")
    elif isinstance(left, Tensor):
        assert left.dtype == right.dtype, path
        assert torch.equal(left, right), path
    else:
        assert left == right, path


def assert_cuts_change_nothing(run: Callable[[int, int, bytes | None], TrainingOutcome]) -> TrainingOutcome:
    """Train 0 -> 6, and 0 -> 2 -> 3 -> 6, with strangers drawing from the global generators in between."""
    whole = run(0, 6, None)
    measurements: list[Any] = []
    checkpoint = None
    for start, end in ((0, 2), (2, 3), (3, 6)):
        torch.rand(7)
        np.random.rand(3)
        random.random()
        piece = run(start, end, checkpoint)
        measurements += piece.measurements
        checkpoint = piece.checkpoint
    assert measurements == list(whole.measurements)
    assert (piece.state, piece.best_epoch) == (whole.state, whole.best_epoch)
    assert_same(read_checkpoint(whole.checkpoint), read_checkpoint(piece.checkpoint))
    return whole


@pytest.mark.parametrize(
    ("schedule", "optimizer", "precision"),
    [
        ("cosine", "adamw", "32"),
        ("plateau", "nesterov", "32"),
        ("one_cycle", "adam", "64"),
        ("step", "rmsprop", "bf16"),
    ],
)
def test_training_in_pieces_equals_training_in_one_bit_for_bit(
    digits: TrainingData, schedule: str, optimizer: str, precision: str
) -> None:
    """Dropout, batch norm, shuffling, clipping and patience included; 64 bits are not cut to 32 on the way."""
    values = {
        "schedule": schedule,
        "optimizer": optimizer,
        "lr": 0.02,
        "dropout": 0.3,
        "clip_norm": 1.0,
        "width": 32,
    }
    chosen = settings(metric="val_accuracy", mode="max", patience=6, precision=precision)

    def run(start: int, end: int, checkpoint: bytes | None) -> TrainingOutcome:
        data = ArrayDataModule(digits, batch_size=64, seed=SEED)
        with seeded(SEED):
            task = build_task("mlp", values, digits.info, max_epochs=6, steps_per_epoch=data.steps_per_epoch)
        return train(
            task, data, settings=chosen, seed=SEED, start_epoch=start, end_epoch=end, checkpoint=checkpoint
        )

    whole = assert_cuts_change_nothing(run)
    weights, _, _ = best_state(whole.checkpoint)
    expected = torch.float64 if precision == "64" else torch.float32
    assert {w.dtype for w in weights.values() if w.is_floating_point()} == {expected}
    assert whole.measurements[-1][1]["val_accuracy"] > 0.7


@pytest.mark.parametrize("precision", ["32", "64", "bf16"])
def test_augmented_training_in_pieces_equals_training_in_one_bit_for_bit(
    digits: TrainingData, precision: str
) -> None:
    """The training batches follow from seed, epoch and batch; validation sees the images as they are."""
    values = {"lr": 0.02, "width": 32, "rotation": 10, "crop_padding": 1, "cutout": 0.05, "mixup": 0.3}
    _, recipe = split_settings("mlp", values)
    chosen = settings(metric="val_accuracy", mode="max", precision=precision)

    def run(start: int, end: int, checkpoint: bytes | None, augmented: bool = True) -> TrainingOutcome:
        augment = make_augmentation(recipe, digits, seed=SEED) if augmented else None
        data = ArrayDataModule(digits, batch_size=64, seed=SEED, augment=augment)
        with seeded(SEED):
            task = build_task("mlp", values, digits.info, max_epochs=6, steps_per_epoch=data.steps_per_epoch)
        return train(
            task, data, settings=chosen, seed=SEED, start_epoch=start, end_epoch=end, checkpoint=checkpoint
        )

    whole = assert_cuts_change_nothing(run).measurements[-1][1]
    plain = run(0, 6, None, augmented=False).measurements[-1][1]
    assert whole["val_accuracy"] > 0.5
    assert whole["train_loss"] > 1.5 * plain["train_loss"]
    assert whole["val_loss"] < whole["train_loss"]


def test_a_persons_module_and_dataloader_train_in_pieces_as_in_one() -> None:
    """Both draw from the global generators of torch, numpy and Python."""
    whole = assert_cuts_change_nothing(lambda start, end, ckpt: train_own(settings(), start, end, ckpt))
    assert whole.state == "completed"
    assert [epoch for epoch, _ in whole.measurements] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "loss_epoch", "val_loss", "train_loss"} <= set(whole.measurements[0][1])


def test_patience_counts_on_across_pieces() -> None:
    scores = (0.5, 0.6, 0.6, 0.5, 0.6, 0.9)
    chosen = settings(metric="score", mode="max", patience=3)
    whole = assert_cuts_change_nothing(
        lambda start, end, ckpt: train_own(chosen, start, end, ckpt, scores=scores),
    )
    assert (whole.state, len(whole.measurements), whole.best_epoch) == ("completed", 5, 2)


def test_the_same_seed_gives_the_same_result_and_another_seed_another_one() -> None:
    chosen = settings(max_epochs=2)
    results = [
        train(
            own_net(), Blobs(), settings=chosen, seed=seed, start_epoch=0, end_epoch=2, checkpoint=None
        ).measurements
        for seed in (1, 1, 2)
    ]
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_training_equals_a_loop_written_by_hand(digits: TrainingData) -> None:
    values = {"optimizer": "momentum", "lr": 0.05, "dropout": 0.0, "schedule": "constant", "weight_decay": 0.0}

    def make() -> tuple[Any, ArrayDataModule]:
        data = ArrayDataModule(digits, batch_size=64, seed=3)
        with seeded(3):
            return build_task("mlp", values, digits.info, max_epochs=2, steps_per_epoch=data.steps_per_epoch), data

    task, data = make()
    outcome = train(
        task, data, settings=settings(max_epochs=2), seed=3, start_epoch=0, end_epoch=2, checkpoint=None
    )
    by_hand, data = make()
    optimizer = torch.optim.SGD(by_hand.network.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(2):
        loader = data.train_dataloader()
        loader.set_epoch(epoch)
        for inputs, target in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(by_hand.network(inputs), target).backward()
            optimizer.step()
    trained = read_checkpoint(outcome.checkpoint)["state_dict"]
    for name, tensor in by_hand.network.state_dict().items():
        torch.testing.assert_close(trained[f"network.{name}"], tensor)


def test_the_checkpoint_holds_the_best_epochs_weights_and_the_last_ones() -> None:
    scores = (0.1, 0.3, 0.2, 0.3)  # the first of equals is the best
    chosen = settings(max_epochs=4, metric="score", mode="max")
    to_best = train_own(chosen, 0, 2, scores=scores)
    whole = train_own(chosen, 0, 4, scores=scores)
    weights, epoch, value = best_state(whole.checkpoint)
    assert (epoch, whole.best_epoch) == (2, 2)
    assert value == pytest.approx(0.3)
    assert_same(dict(weights), dict(read_checkpoint(to_best.checkpoint)["state_dict"]))
    assert not torch.equal(
        weights["net.0.weight"], read_checkpoint(whole.checkpoint)["state_dict"]["net.0.weight"]
    )


def test_weights_are_stored_once_where_the_last_epoch_is_the_best() -> None:
    chosen = settings(max_epochs=2, metric="score", mode="max")
    last_is_best = train_own(chosen, 0, 2, scores=(0.1, 0.2)).checkpoint
    first_is_best = train_own(chosen, 0, 2, scores=(0.2, 0.1)).checkpoint
    assert len(last_is_best) < len(first_is_best)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_what_improves_by_no_more_than_min_delta_uses_up_patience(mode: str) -> None:
    """Each value is the best so far, so it is the best epoch; it is no improvement for patience."""
    steps = [0.5, 0.5625, 0.625, 0.6875]
    scores = steps if mode == "max" else [-step for step in steps]
    chosen = settings(max_epochs=4, metric="score", mode=mode, patience=2, min_delta=0.125)
    outcome = train_own(chosen, 0, 4, scores=scores)
    assert (outcome.state, len(outcome.measurements), outcome.best_epoch) == ("completed", 3, 3)


def test_a_trial_that_may_go_on_is_running_and_one_at_its_last_epoch_completed() -> None:
    chosen = settings(max_epochs=3)
    first = train_own(chosen, 0, 2)
    assert (first.state, len(first.measurements)) == ("running", 2)
    assert train_own(chosen, 2, 3, first.checkpoint).state == "completed"


def test_a_callback_of_the_modules_own_may_end_the_trial() -> None:
    class Impatient(OwnNet):
        def configure_callbacks(self) -> list[pl.Callback]:
            return [EarlyStopping("score", mode="max", patience=1)]

    with seeded(0):
        module = Impatient(scores=(0.5, 0.4, 0.6, 0.7))
    outcome = train(
        module, Blobs(), settings=settings(max_epochs=4), seed=0, start_epoch=0, end_epoch=4, checkpoint=None
    )
    assert (outcome.state, len(outcome.measurements)) == ("completed", 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_training_loss_that_is_not_finite_ends_the_trial_as_diverged(bad: float) -> None:
    outcome = train_own(
        settings(metric="score", mode="max"), losses=(1, 1, bad, 1, 1, 1), scores=(0.3, 0.2) + (0.9,) * 4
    )
    assert (outcome.state, len(outcome.measurements), outcome.best_epoch) == ("diverged", 3, 1)
    assert not math.isfinite(outcome.measurements[-1][1]["train_loss"])
    weights, epoch, _ = best_state(outcome.checkpoint)
    assert epoch == 1
    assert all(torch.isfinite(weight).all() for weight in weights.values())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_objective_that_is_not_finite_ends_the_trial_as_diverged(bad: float) -> None:
    outcome = train_own(settings(metric="score", mode="max"), scores=(0.3, bad, 0.9, 0.9, 0.9, 0.9))
    assert (outcome.state, len(outcome.measurements), outcome.best_epoch) == ("diverged", 2, 1)


def test_a_trial_that_diverges_at_once_has_no_best_weights() -> None:
    outcome = train_own(settings(), losses=(math.nan,) * 6)
    assert (outcome.state, outcome.best_epoch) == ("diverged", None)
    with pytest.raises(ValueError, match="no epoch up to 1 had a finite objective"):
        best_state(outcome.checkpoint)


def test_an_objective_that_the_module_does_not_log_is_an_error_that_names_what_it_logs() -> None:
    with pytest.raises(
        ValueError, match=r"got 'val_los', logged are .*train_loss, val_loss: did you mean 'val_loss'"
    ):
        train_own(settings(metric="val_los"))


def test_a_value_that_is_not_logged_again_is_not_measured_again() -> None:
    class EveryOtherEpoch(OwnNet):
        def on_train_epoch_end(self) -> None:
            if self.current_epoch % 2 == 0:
                self.log("rare", 1.0)

    with seeded(0):
        module = EveryOtherEpoch()
    outcome = train(
        module, Blobs(), settings=settings(max_epochs=3), seed=0, start_epoch=0, end_epoch=3, checkpoint=None
    )
    assert ["rare" in metrics for _, metrics in outcome.measurements] == [True, False, True]


def test_there_is_one_validation_an_epoch_and_schedules_see_the_whole_trial() -> None:
    module = own_net()
    train(module, Blobs(), settings=settings(), seed=0, start_epoch=0, end_epoch=2, checkpoint=None)
    assert module.num_validations == 2
    assert module.total_steps == 6 * 4


@pytest.mark.parametrize("fails", [False, True])
def test_the_process_is_left_as_it_was(fails: bool) -> None:
    torch.manual_seed(11)
    np.random.seed(12)
    random.seed(13)
    expected = [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()]
    torch.manual_seed(11)
    np.random.seed(12)
    random.seed(13)
    threads = torch.get_num_threads()
    levels = [logging.getLogger(name).level for name in ("pytorch_lightning", "lightning_fabric")]
    filters = list(warnings.filters)
    if fails:
        with pytest.raises(ValueError, match="objective must be logged"):
            train_own(settings(metric="nothing", num_threads=threads + 1))
    else:
        train_own(settings(max_epochs=1, num_threads=threads + 1), 0, 1)
    assert [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()] == expected
    assert torch.get_num_threads() == threads
    assert [logging.getLogger(name).level for name in ("pytorch_lightning", "lightning_fabric")] == levels
    assert list(warnings.filters) == filters


def test_torch_runs_on_as_many_threads_as_the_settings_say() -> None:
    seen = []

    class Counting(OwnNet):
        def on_train_epoch_start(self) -> None:
            super().on_train_epoch_start()
            seen.append(torch.get_num_threads())

    train(
        Counting(), Blobs(), settings=settings(max_epochs=1, num_threads=3), seed=0, start_epoch=0, end_epoch=1,
        checkpoint=None,
    )  # fmt: skip
    assert seen == [3]


def test_nothing_is_written_to_files_or_the_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = train_own(settings(max_epochs=2), 0, 1)
        second = train_own(settings(max_epochs=2), 1, 2, first.checkpoint)
        evaluate_best(own_net(), Blobs(), settings=settings(max_epochs=2), checkpoint=second.checkpoint)
    assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == []


def test_evaluation_runs_the_test_split_with_the_best_epochs_weights() -> None:
    chosen = settings(max_epochs=3, metric="score", mode="max")
    outcome = train_own(chosen, 0, 3, scores=(0.1, 0.9, 0.2))
    metrics = evaluate_best(own_net(), Blobs(), settings=chosen, checkpoint=outcome.checkpoint)
    by_hand = own_net()
    by_hand.load_state_dict(best_state(outcome.checkpoint)[0])
    x, y = Blobs().rows.tensors
    expected = nn.functional.cross_entropy(by_hand.eval().net(x), y)
    assert metrics == {"test_loss": pytest.approx(expected.item(), rel=1e-5)}


def test_hyperparameters_that_are_no_primitives_stay_out_of_the_checkpoint() -> None:
    class Hoarder(OwnNet):
        def __init__(self, width: int, function: Any) -> None:
            super().__init__()
            self.save_hyperparameters()

    outcome = train(
        Hoarder(8, torch.nn.functional.relu),
        Blobs(),
        settings=settings(max_epochs=1),
        seed=0,
        start_epoch=0,
        end_epoch=1,
        checkpoint=None,
    )
    assert read_checkpoint(outcome.checkpoint)["hyper_parameters"] == {"width": 8}


def test_a_checkpoint_that_needs_code_to_load_is_refused_with_the_remedy() -> None:
    class Pickler(OwnNet):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["mine"] = Path("object")

    outcome = train(Pickler(), Blobs(), settings=settings(), seed=0, start_epoch=0, end_epoch=1, checkpoint=None)
    with pytest.raises(
        ValueError, match=r"tensors and primitives alone.* got pathlib\.\w+: keep other objects out"
    ):
        train_own(settings(), 1, 2, outcome.checkpoint)


@pytest.mark.parametrize("checkpoint", [b"", b"no checkpoint"])
def test_bytes_that_are_no_checkpoint_are_refused(checkpoint: bytes) -> None:
    with pytest.raises(ValueError, match=f"got {len(checkpoint)} bytes"):
        best_state(checkpoint)


def test_epochs_and_checkpoint_must_fit() -> None:
    first = train_own(settings(), 0, 1)
    with pytest.raises(ValueError, match="0 <= start_epoch < end_epoch <= max_epochs must hold, got 0, 7, 6"):
        train_own(settings(), 0, 7)
    with pytest.raises(ValueError, match="got start=2 without a checkpoint"):
        train_own(settings(), 2, 3)
    with pytest.raises(ValueError, match="got start=0 with a checkpoint"):
        train_own(settings(), 0, 3, first.checkpoint)
    with pytest.raises(ValueError, match="got one of epoch 1 for start_epoch 2"):
        train_own(settings(), 2, 3, first.checkpoint)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "up"}, "mode is min or max, got 'up'"),
        ({"accelerator": "tpu"}, "accelerator is cpu or cuda, got 'tpu'"),
        ({"precision": "16"}, "precision is one of 32, bf16, 64, got '16'"),
        ({"patience": 0}, "at least 1, got 6, 1, 0"),
        ({"min_delta": -0.1}, "min_delta is at least 0, got -0.1"),
    ],
)
def test_settings_are_checked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**values)


@pytest.mark.filterwarnings("ignore:Total length of")
def test_data_without_a_training_batch_is_an_error() -> None:
    class Dropping(Blobs):
        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(self.rows, batch_size=1000, drop_last=True)

    class Constant(OwnNet):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    with pytest.raises(ValueError, match="at least one training batch"):
        train(Constant(), Dropping(), settings=settings(), seed=0, start_epoch=0, end_epoch=1, checkpoint=None)


@pytest.mark.parametrize("hook", ["setup", "on_train_batch_start", "on_validation_epoch_end"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_exception_in_the_module_comes_out_as_it_is(hook: str, error: type[BaseException]) -> None:
    """Lightning exits on KeyboardInterrupt and may leave the process deaf to the next one."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise error("here")

    module = own_net()
    setattr(module, hook, fail)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(error, match="here"):
        train(module, Blobs(), settings=settings(), seed=0, start_epoch=0, end_epoch=1, checkpoint=None)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.gpu
def test_training_in_pieces_equals_training_in_one_on_a_gpu(digits: TrainingData) -> None:
    chosen = settings(metric="val_accuracy", mode="max", accelerator="cuda")
    torch.cuda.manual_seed(5)
    expected = torch.rand(3, device="cuda").tolist()
    torch.cuda.manual_seed(5)

    def run(start: int, end: int, checkpoint: bytes | None) -> TrainingOutcome:
        data = ArrayDataModule(digits, batch_size=64, seed=SEED, device="cuda")
        with seeded(SEED, cuda=True):
            task = build_task(
                "cnn", {"dropout": 0.2}, digits.info, max_epochs=6, steps_per_epoch=data.steps_per_epoch
            )
        return train(
            task, data, settings=chosen, seed=SEED, start_epoch=start, end_epoch=end, checkpoint=checkpoint
        )

    whole = assert_cuts_change_nothing(run)
    assert whole.measurements[-1][1]["val_accuracy"] > 0.7
    assert torch.rand(3, device="cuda").tolist() == expected
    assert not torch.are_deterministic_algorithms_enabled()
