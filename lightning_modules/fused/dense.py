"""Stacked layers of full connections, embeddings, and the activations that hold parameters or draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.fused.noise import Noise
from lightning_modules.fused.shapes import by_member
from lightning_modules.fused.stacked import Stacked


class StackedLinear(Stacked):
    """One batched matrix product for all members.

    Shapes:
        x: (K * B, C_in) -> (K * B, C_out); weight (K, C_out, C_in)
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__(layers)
        if layers[0].bias is None:
            self.bias = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (K * B, C_in) to (K * B, C_out)."""
        return product(by_member(x, len(self.weight)), self.weight, self.bias).flatten(0, 1)


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply each member's rows, (K, B, C_in), by its matrix, (K, C_out, C_in), and add its bias, (K, C_out)."""
    if torch.is_autocast_enabled(x.device.type):  # which casts torch's own products alone
        out = torch.bmm(x, weight.transpose(1, 2))
        return out if bias is None else out + bias[:, None]
    linear: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return linear


class _Linear(torch.autograd.Function):
    """As torch's own formula, but with a gradient of the weight that lies as the weight does.

    torch's lies the other way round, and to turn it costs as much as a third of the product.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        turned = weight.transpose(1, 2)
        return torch.bmm(x, turned) if bias is None else torch.baddbmm(bias[:, None], x, turned)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0]
        of_x = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        of_bias = gradient.sum(dim=1) if ctx.has_bias else None
        return of_x, torch.bmm(gradient.transpose(1, 2), x), of_bias


class StackedEmbedding(Stacked):
    """Look-ups in the members' tables, laid one under the other; the padding's row learns nothing.

    Shapes:
        codes: (K * B, ...) -> (K * B, ..., D); weight (K, V, D)
    """

    weight: Tensor

    def __init__(self, layers: Sequence[nn.Embedding]) -> None:
        super().__init__(layers)
        self.padding_idx = layers[0].padding_idx

    def forward(self, codes: Tensor) -> Tensor:
        """Map (K * B, ...) to (K * B, ..., D)."""
        num_members, size, _ = self.weight.shape
        first_rows = torch.arange(0, num_members * size, size, device=codes.device)
        places = by_member(codes, num_members) + first_rows.reshape(-1, *[1] * codes.ndim)
        found = nn.functional.embedding(places.flatten(0, 1), self.weight.flatten(0, 1))
        if self.padding_idx is None or not self.training:
            return found
        return torch.where((codes == self.padding_idx)[..., None], found.detach(), found)


class StackedPReLU(Stacked):
    """A learned slope for each member: the members stand where torch has channels.

    Shapes:
        x: (K * B, ...) -> the same; weight (K, 1)
    """

    weight: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Apply to each value."""
        num_members = len(self.weight)
        slopes = self.weight.reshape(-1).to(x.dtype)
        return nn.functional.prelu(x.reshape(1, num_members, -1), slopes).reshape(x.shape)


class StackedSwish(Stacked):
    """`x * sigmoid(beta * x)` with a slope of each member.

    Shapes:
        x: (K * B, ...) -> the same; beta (K, 1)
    """

    beta: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Apply to each value."""
        rows = x.reshape(len(self.beta), -1)
        return (rows * torch.sigmoid(self.beta * rows)).reshape(x.shape)


class StackedRReLU(nn.Module):
    """Random slopes from each member's own source, their mean in evaluation.

    Shapes:
        x: (K * B, ...) -> the same
    """

    def __init__(self, layers: Sequence[nn.RReLU], noise: Noise) -> None:
        super().__init__()
        self.lower, self.upper = layers[0].lower, layers[0].upper
        self._noise = noise

    def forward(self, x: Tensor) -> Tensor:
        """Apply to each value."""
        if not self.training:
            return nn.functional.rrelu(x, self.lower, self.upper)
        rows = by_member(x, self._noise.num_members)
        slopes = self.lower + (self.upper - self.lower) * self._noise.uniform(rows)
        return torch.where(rows > 0, rows, rows * slopes).flatten(0, 1)
