"""Measures a network's health at one training step, without a trace in its training.

What is measured and what it is called: see `lightning_modules.health`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation as torch_activations
from torch.nn.utils.rnn import PackedSequence
from torch.utils.hooks import RemovableHandle

from lightning_modules.blocks.activations import Swish
from lightning_modules.health import DEAD, GRADIENT, MEAN, STD, is_watched

_DIES = (nn.ReLU, nn.ReLU6)
_NO_HIDDEN_ACTIVATION = (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)


class HealthWatch:
    """Watches one step of an epoch: `start_epoch`, then the step, then `end`; `values` gives what was seen.

    Values stay where they were computed until `values` is called, once an epoch: to read one waits for a GPU.
    """

    def __init__(self) -> None:
        self._activations: list[tuple[str, nn.Module]] = []
        self._owners: dict[nn.Parameter, str] = {}
        self._handles: list[RemovableHandle] = []
        self._seen: dict[str, Tensor] = {}
        self.is_watching = False

    def start_epoch(self, module: nn.Module, epoch: int, num_steps: float) -> None:
        """Watch the first step of an epoch, which counts from 0, if the epoch is one of those that are watched.

        It is the same module at each call.
        """
        self.end()
        self._seen = {}
        if is_watched(epoch, num_steps):
            self._begin(module)

    def _begin(self, module: nn.Module) -> None:
        if not self._owners:
            self._activations, self._owners = activation_layers(module), gradient_owners(module)
        self._handles = [
            part.register_forward_hook(partial(self._see_output, name)) for name, part in self._activations
        ]
        self.is_watching = True

    def see_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Note the gradients that an optimizer is about to use."""
        layers: dict[str, list[Tensor]] = {}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter in self._owners:
                    layers.setdefault(self._owners[parameter], []).append(parameter.grad)
        self._seen |= {GRADIENT + layer: norm for layer, norm in gradient_norms(layers).items()}

    def end(self) -> None:
        """Take every hook off the module."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.is_watching = False

    def values(self) -> dict[str, float]:
        """Give what was seen in this epoch, by name; nothing where it is not watched."""
        if not self._seen:
            return {}
        return dict(zip(self._seen, torch.stack(list(self._seen.values())).tolist(), strict=True))

    @torch.no_grad()
    def _see_output(self, layer: str, part: nn.Module, inputs: Any, output: Any) -> None:
        if not part.training:
            return
        x = _tensor(output)
        if x is not None:
            self._seen |= activation_values(layer, part, x)


def activation_layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """List the layers whose outputs are watched, by name."""
    return [(name, part) for name, part in module.named_modules() if _has_activations(part)]


def gradient_owners(module: nn.Module) -> dict[nn.Parameter, str]:
    """Say to which layer each parameter counts; those of layers without a matrix count to none."""
    owners: dict[nn.Parameter, str] = {}
    for name, part in module.named_modules():
        own = list(part.parameters(recurse=False))
        if any(parameter.ndim > 1 for parameter in own):
            owners |= dict.fromkeys(own, name)
    return owners


def gradient_norms(layers: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    """Take the norm of all gradients of a layer together, a scalar for each."""
    gradients = [gradient for own in layers.values() for gradient in own]
    if not gradients:
        return {}
    norms = iter(torch._foreach_norm(gradients, dtype=_wide(gradients[0])))
    own = {layer: list(islice(norms, len(parts))) for layer, parts in layers.items()}
    return {
        layer: parts[0] if len(parts) == 1 else torch.linalg.vector_norm(torch.stack(parts))
        for layer, parts in own.items()
    }


def _wide(x: Tensor) -> torch.dtype:
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def activation_values(layer: str, part: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Measure a layer's output, (B, C, ...), or the steps of a recurrent one; nothing of less than two numbers."""
    if not x.is_floating_point() or x.numel() < 2:
        return {}
    x = x.detach().to(_wide(x))
    mean = x.mean()
    # In two vectorized passes: torch's std takes up to fifteen times as long on the CPU (131,072 values).
    std = torch.linalg.vector_norm(x - mean) / (x.numel() - 1) ** 0.5
    found = {MEAN + layer: mean, STD + layer: std}
    if isinstance(part, _DIES) and x.ndim > 1:
        others = [axis for axis in range(x.ndim) if axis != 1]
        found[DEAD + layer] = (x.amax(dim=others) <= 0).float().mean()
    return found


def _has_activations(part: nn.Module) -> bool:
    if isinstance(part, _NO_HIDDEN_ACTIVATION):
        return False
    return type(part).__module__ == torch_activations.__name__ or isinstance(part, Swish | nn.RNNBase)


def _tensor(output: Any) -> Tensor | None:
    """Find the steps in what a layer gives: recurrent ones give a pair, and packed."""
    if isinstance(output, PackedSequence):
        return output.data
    if isinstance(output, tuple) and output:
        return _tensor(output[0])
    return output if isinstance(output, Tensor) else None
