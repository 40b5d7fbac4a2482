"""A member of a cohort: what is its own beside its row in the stacked tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from lightning_modules.checkpointing import TRIAL_KEY
from lightning_modules.fused.optimizers import COUNTS_STEPS, STATE
from lightning_modules.task import SupervisedTask
from lightning_modules.trial import TrialRecord


class Schedule:
    """A member's learning rates, written into its optimizer's groups.

    torch's own scheduler says what they are and is what a checkpoint holds; it is brought up to date when one is
    written, for its step costs as much as a member's share of a small network's.

    Args:
        configured: Lightning's `lr_scheduler` dict; None for a constant learning rate.
        optimizer: The member's own.

    Attributes:
        interval: When rates change: after each "step", each "epoch", or None for never.
    """

    def __init__(self, configured: Mapping[str, Any] | None, optimizer: Optimizer) -> None:
        self.scheduler: LambdaLR | ReduceLROnPlateau | None = configured["scheduler"] if configured else None
        self.interval: str | None = configured["interval"] if configured else None
        self._optimizer = optimizer
        self._steps = 0

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        assert self.scheduler is not None
        self.scheduler.load_state_dict(dict(state))
        self._steps = self.scheduler.last_epoch

    def after_step(self) -> None:
        """Move on after a step of the optimizer."""
        if self.interval == "step":
            self._advance()

    def after_training_epoch(self) -> None:
        """Move on after an epoch's last step."""
        if self.interval == "epoch" and isinstance(self.scheduler, LambdaLR):
            self._advance()

    def after_validation(self, loss: float) -> None:
        """Move on by the validation loss."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(loss)

    def _advance(self) -> None:
        assert isinstance(self.scheduler, LambdaLR)
        self._steps += 1
        curves = zip(self._optimizer.param_groups, self.scheduler.base_lrs, self.scheduler.lr_lambdas, strict=True)
        for group, peak, curve in curves:
            group["lr"] = peak * curve(self._steps)

    def settle(self) -> None:
        """Bring torch's scheduler to where the rates are."""
        if isinstance(self.scheduler, LambdaLR):
            now = {
                "last_epoch": self._steps,
                "_step_count": self._steps + 1,
                "_last_lr": [group["lr"] for group in self._optimizer.param_groups],
            }
            self.scheduler.load_state_dict({**self.scheduler.state_dict(), **now})


class Member:
    """A member's own: its task, its torch optimizer as the keeper of hyperparameters, its record.

    Args:
        task: At epoch 0, on the device and in the precision that the cohort trains in.
        record: A new one.
        position: Among the members that were given.

    Attributes:
        train_s: The member's share of the time.
    """

    def __init__(self, task: SupervisedTask, record: TrialRecord, *, position: int) -> None:
        configured: Any = task.configure_optimizers()
        alone = isinstance(configured, Optimizer)
        self.task, self.record, self.position = task, record, position
        self.optimizer: Optimizer = configured if alone else configured["optimizer"]
        self.schedule = Schedule(None if alone else configured["lr_scheduler"], self.optimizer)
        self.train_s = 0.0
        self.start_steps = 0

    @property
    def groups(self) -> list[list[str]]:
        """Names of the network's parameters, for each group of the optimizer."""
        names = {parameter: name for name, parameter in self.task.network.named_parameters()}
        return [[names[parameter] for parameter in group["params"]] for group in self.optimizer.param_groups]

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a checkpoint, one of this package's or one that Lightning wrote."""
        if TRIAL_KEY not in checkpoint:
            raise ValueError("a cohort goes on from checkpoints that train() made, got another: give one of those")
        self.record.load(checkpoint)
        self.task.load_state_dict(checkpoint["state_dict"])
        self.optimizer.load_state_dict(checkpoint["optimizer_states"][0])
        if self.schedule.scheduler is not None:
            self.schedule.load(checkpoint["lr_schedulers"][0])
        self.start_steps = checkpoint["global_step"]

    def optimizer_state(self, name: str, key: str) -> Tensor:
        """Give what the optimizer keeps for a parameter, or zeros."""
        parameter = self.task.network.get_parameter(name)
        kept: Tensor | None = (
            self.optimizer.state[parameter].get(key) if parameter in self.optimizer.state else None
        )
        return parameter.new_zeros(parameter.shape) if kept is None else kept

    def set_optimizer_state(
        self, optimizer: str, state: Mapping[str, Mapping[str, Tensor]], steps: Tensor
    ) -> None:
        """Hand the optimizer what it keeps, for a checkpoint.

        Args:
            optimizer: Its name.
            state: By key, then by parameter.
            steps: Made so far, a scalar.
        """
        for name in (name for group in self.groups for name in group):
            kept: dict[str, Any] = {"step": steps.clone()} if optimizer in COUNTS_STEPS else {}
            kept |= {key: state[key][name] for key in STATE[optimizer]}
            if kept:
                self.optimizer.state[self.task.network.get_parameter(name)] = kept
