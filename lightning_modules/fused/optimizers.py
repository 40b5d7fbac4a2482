"""The optimizers of `lightning_modules.optimizers`, for all members at once, with hyperparameters of each.

They follow torch's own formulas. On the CPU each member's row takes torch's fused kernel, where there is one: a
row fits into the processor's cache, while an operation over all rows reads them from memory (measured, 16 members
of 26,000 weights, adamw: 13 microseconds a member against 60). Elsewhere each operation runs over all rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_modules.fused.parameters import FlatParameters

Group = dict[str, Any]  # of a torch optimizer

# What torch's optimizers keep for a parameter, beside the number of steps.
STATE: Mapping[str, tuple[str, ...]] = {
    "sgd": (),
    "momentum": ("momentum_buffer",),
    "nesterov": ("momentum_buffer",),
    "adagrad": ("sum",),
    "rmsprop": ("square_avg",),
    "adam": ("exp_avg", "exp_avg_sq"),
    "adamw": ("exp_avg", "exp_avg_sq"),
}
COUNTS_STEPS = frozenset({"adagrad", "rmsprop", "adam", "adamw"})


class StackedOptimizer:
    """One step for all members.

    Args:
        name: Of `lightning_modules.optimizers.OPTIMIZERS`.
        parameters: What it changes.
        groups: Each member's groups of its own torch optimizer, in the order of the parameters' spans; learning
            rates are read at each step.
        clip_norms: Largest norm of each member's gradient; 0 leaves it as it is.

    Attributes:
        state: What the optimizer keeps, each shaped as the parameters' values.
        steps: Steps made by each member, (K,).
    """

    def __init__(
        self,
        name: str,
        parameters: FlatParameters,
        groups: Sequence[Sequence[Group]],
        clip_norms: Sequence[float],
    ) -> None:
        self.name = name
        self._parameters = parameters
        self._groups, self._clips = list(groups), any(clip_norms)
        self._clip_norms = torch.tensor(clip_norms, dtype=parameters.values.dtype).to(parameters.values.device)
        self.state = {key: torch.zeros_like(parameters.values) for key in STATE[name]}
        # 32 bits as torch keeps them, whatever the weights have.
        self.steps = torch.zeros(len(groups), dtype=torch.float32, device=parameters.values.device)
        self._by_row = parameters.values.device.type == "cpu"
        self._cut()

    def keep(self, members: Sequence[int]) -> None:
        """Drop all members but some; call it after the parameters' own `keep`."""
        chosen = list(members)
        self._groups = [self._groups[member] for member in chosen]
        self.state = {key: value[chosen] for key, value in self.state.items()}
        self.steps, self._clip_norms = self.steps[chosen], self._clip_norms[chosen]
        self._cut()

    def _cut(self) -> None:
        """Cut the tensors into the views that a step works on: by group, and by row where each has its kernel."""
        tensors = [self._parameters.values, self._parameters.gradients, *self.state.values()]
        self._parts = [[tensor[:, start:stop] for tensor in tensors] for start, stop in self._parameters.spans]
        self._rows = [
            [[[row] for row in part] for part in zip(*(part.unbind() for part in parts), strict=True)]
            for parts in self._parts
        ]
        self._row_steps = [[step] for step in self.steps.unbind()]

    def clip(self) -> None:
        """Scale each member's gradient down to its largest norm.

        Source:
            Pascanu et al. 2013, arXiv:1211.5063; as torch.nn.utils.clip_grad_norm_.
        """
        if not self._clips:
            return
        gradients, limits = self._parameters.gradients, self._clip_norms
        factors = (limits / (torch.linalg.vector_norm(gradients, dim=1) + 1e-6)).clamp_max(1.0)
        gradients.mul_(torch.where(limits > 0, factors, 1.0)[:, None])

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters by their gradients, which are used up."""
        self.steps += 1
        for index, parts in enumerate(self._parts):
            groups = [member[index] for member in self._groups]
            if not self._by_row:
                self._step_rows(parts, groups, self.steps)
                continue
            for row, group in enumerate(groups):
                self._step_row(self._rows[index][row], group, self._row_steps[row])

    def _step_row(self, parts: Sequence[list[Tensor]], group: Group, steps: list[Tensor]) -> None:
        """Step a member's part by torch's fused kernel, as torch's own optimizers call it."""
        weights, gradients, *state = parts
        common = {"lr": group["lr"], "weight_decay": group["weight_decay"], "maximize": False}
        match self.name:
            case "sgd" | "momentum" | "nesterov":
                torch._fused_sgd_(
                    weights,
                    gradients,
                    state[0] if state else [],
                    momentum=group["momentum"],
                    dampening=0.0,
                    nesterov=group["nesterov"],
                    is_first_step=False,  # a buffer of zeros gives the first step too
                    **common,
                )
            case "adagrad":
                torch._fused_adagrad_(
                    weights, gradients, state[0], steps, lr_decay=0.0, eps=group["eps"], **common
                )
            case "adam" | "adamw":
                kernel = torch._fused_adam_ if self.name == "adam" else torch._fused_adamw_
                beta1, beta2 = group["betas"]
                kernel(
                    weights,
                    gradients,
                    state[0],
                    state[1],
                    [],
                    steps,
                    beta1=beta1,
                    beta2=beta2,
                    eps=group["eps"],
                    amsgrad=False,
                    **common,
                )
            case _:
                self._step_rows([part[0][None] for part in parts], [group], steps[0][None])

    def _step_rows(self, parts: Sequence[Tensor], groups: Sequence[Group], steps: Tensor) -> None:
        """Step all rows by operations over all of them, with a column of each hyperparameter."""
        w, g, *state = parts

        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=w.dtype).to(w.device, non_blocking=True)[:, None]

        lr = column([group["lr"] for group in groups])
        decay = [group["weight_decay"] for group in groups]
        if self.name == "adamw":
            w.mul_(column([1.0 - group["lr"] * share for group, share in zip(groups, decay, strict=True)]))
        elif any(decay):
            g.addcmul_(w, column(decay))
        match self.name:
            case "sgd":
                w.sub_(g.mul_(lr))
            case "momentum" | "nesterov":
                momentum = column([group["momentum"] for group in groups])
                velocity = state[0].mul_(momentum).add_(g)
                w.sub_((g.addcmul_(velocity, momentum) if self.name == "nesterov" else velocity) * lr)
            case "adagrad":
                squares = state[0].addcmul_(g, g)
                w.sub_(g.mul_(lr).div_(squares.sqrt().add_(groups[0]["eps"])))
            case "rmsprop":
                alpha = groups[0]["alpha"]
                squares = state[0].mul_(alpha).addcmul_(g, g, value=1.0 - alpha)
                w.sub_(g.mul_(lr).div_(squares.sqrt().add_(groups[0]["eps"])))
            case "adam" | "adamw":
                beta1, beta2 = groups[0]["betas"]
                means = state[0].lerp_(g, 1.0 - beta1)
                squares = state[1].mul_(beta2).addcmul_(g, g, value=1.0 - beta2)
                made = steps[:, None].to(w.dtype)
                root = squares.sqrt().div_((1.0 - beta2**made).sqrt()).add_(groups[0]["eps"])
                w.sub_(means.div(root).mul_(lr / (1.0 - beta1**made)))
