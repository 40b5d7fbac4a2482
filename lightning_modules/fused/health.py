"""Health of each member of an array, under the names and by the measures of `lightning_modules.health_watch`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightning_modules.blocks.pooling import valid_steps
from lightning_modules.fused.noise import Noise
from lightning_modules.fused.parameters import FlatParameters
from lightning_modules.fused.shapes import by_member
from lightning_modules.health import GRADIENT
from lightning_modules.health_watch import activation_layers, activation_values, gradient_norms, gradient_owners
from lightning_modules.task import SupervisedTask

_PREFIX = "network."  # of a task's parts


class StackedHealth:
    """Watches one step of an epoch: `start_epoch`, `begin`, the step, `end`; `values` gives what was seen.

    Args:
        network: Stacked.
        task: Of one member: says which layers are watched, and their names.
        parameters: Of the network.
        noise: Knows how long each member's rows are.
    """

    def __init__(self, network: nn.Module, task: SupervisedTask, parameters: FlatParameters, noise: Noise) -> None:
        self._parameters, self._noise = parameters, noise
        self._layers = [
            (name, part, network.get_submodule(name.removeprefix(_PREFIX)))
            for name, part in activation_layers(task)
        ]
        owners = gradient_owners(task)
        self._columns: dict[str, list[tuple[int, int]]] = {}
        for name, parameter in task.network.named_parameters():
            if parameter in owners and name in parameters.names:
                self._columns.setdefault(owners[parameter], []).append(parameters.columns(name))
        self._handles: list[RemovableHandle] = []
        self._seen: list[dict[str, Tensor]] = []

    def start_epoch(self, num_members: int) -> None:
        """Forget the epoch before."""
        self._seen = [{} for _ in range(num_members)]

    def begin(self) -> None:
        """Watch the next step."""
        self._handles = [
            stacked.register_forward_hook(partial(self._see, name, own)) for name, own, stacked in self._layers
        ]

    def see_gradients(self) -> None:
        """Note the gradients, which are not clipped yet."""
        for member, gradients in enumerate(self._parameters.gradients):
            layers = {
                layer: [gradients[start:stop] for start, stop in columns]
                for layer, columns in self._columns.items()
            }
            self._seen[member] |= {GRADIENT + layer: norm for layer, norm in gradient_norms(layers).items()}

    def end(self) -> None:
        """Take every hook off the network."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def values(self, member: int) -> dict[str, float]:
        """Give what was seen of a member in this epoch, by name; nothing where it is not watched."""
        seen = self._seen[member]
        return dict(zip(seen, torch.stack(list(seen.values())).tolist(), strict=True)) if seen else {}

    @torch.no_grad()
    def _see(self, layer: str, own: nn.Module, part: nn.Module, inputs: Any, output: Tensor) -> None:
        num_members = self._noise.num_members
        lengths = by_member(inputs[1], num_members) if isinstance(own, nn.RNNBase) else None
        for member, x in enumerate(by_member(output, num_members)):
            if lengths is not None:  # as if packed: the steps before each row's end
                values = x[valid_steps(x.shape[1], lengths[member])]
            elif x.ndim == 3 and self._noise.steps is not None:
                values = x[..., : self._own_steps(member, x.shape[2])]
            else:
                values = x
            self._seen[member] |= activation_values(layer, own, values)

    def _own_steps(self, member: int, steps: int) -> int:
        """Say how many of a map's steps a series of the member has: maps halve, rounded up."""
        assert self._noise.steps is not None
        longest, own = max(self._noise.steps), self._noise.steps[member]
        while longest > steps:
            longest, own = -(-longest // 2), -(-own // 2)
        return own
