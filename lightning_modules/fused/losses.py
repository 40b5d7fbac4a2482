"""The losses of `lightning_modules.losses` for all members at once, with label smoothing and the like of each.

Shapes:
    logits (K, B, C); target (K, B), or (K, B, C) shares of the classes -> (K,)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.losses import loss_name
from lightning_modules.task import SupervisedTask


class StackedLoss:
    """Each member's mean loss over its rows.

    Args:
        tasks: The members' own; of one loss, on the device that they train on.
    """

    def __init__(self, tasks: Sequence[SupervisedTask]) -> None:
        first = tasks[0]
        recipes = [task.recipe for task in tasks]
        self._name = loss_name(first.recipe, first.info)
        weight = first.network.get_parameter("output.weight")
        self._dtype, self._device = weight.dtype, weight.device
        self._smoothing = self._column([recipe.label_smoothing for recipe in recipes])
        self._gamma = self._column([recipe.focal_gamma for recipe in recipes])
        self._delta = self._column([recipe.huber_delta for recipe in recipes])
        weights = [getattr(task.loss, "weight", None) for task in tasks]
        given = [weight for weight in weights if weight is not None]
        # A member without class weights has weight 1 for each class, which is the same.
        self._weight = (
            torch.stack([torch.ones_like(given[0]) if weight is None else weight for weight in weights])
            if given
            else None
        )

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=self._dtype, device=self._device)[:, None]

    def keep(self, members: Sequence[int]) -> None:
        """Drop all members but some."""
        chosen = list(members)
        self._smoothing, self._gamma, self._delta = (
            column[chosen] for column in (self._smoothing, self._gamma, self._delta)
        )
        self._weight = None if self._weight is None else self._weight[chosen]

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compare each member's logits with its target."""
        if self._name in _OF_VALUES:
            return _OF_VALUES[self._name](logits[..., 0], target, self._delta).mean(dim=1)
        if self._name == "bce":
            return self._binary(logits[..., 0], target)
        dtype = torch.float32 if logits.dtype == torch.bfloat16 else logits.dtype  # as torch has it under autocast
        shares = self._shares(target, logits.shape[2], dtype)
        if self._name == "focal":
            return self._focal(logits, shares, target)
        if self._weight is not None:
            shares = shares * self._weight[:, None]
        terms: Tensor = _CrossEntropy.apply(logits, shares)  # type: ignore[no-untyped-call]
        return self._mean(terms, target)

    def _focal(self, logits: Tensor, shares: Tensor, target: Tensor) -> Tensor:
        """As `FocalLoss`: through expm1, with a floor below the power."""
        log_p = F.log_softmax(logits, dim=2)
        miss = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        terms = -shares * miss.pow(self._gamma[..., None]) * log_p
        if self._weight is not None:
            terms = terms * self._weight[:, None]
        return self._mean(terms.sum(dim=2), target)

    def _mean(self, terms: Tensor, target: Tensor) -> Tensor:
        """Average over rows, or divide by the sum of the rows' class weights: (K, B) to (K,)."""
        if self._weight is None:
            return terms.mean(dim=1)
        return terms.sum(dim=1) / self._row_weights(target).sum(dim=1)

    def _shares(self, target: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
        shares = target if target.is_floating_point() else F.one_hot(target, num_classes)
        smoothing = self._smoothing[..., None].to(dtype)
        return torch.addcmul(smoothing / num_classes, shares.to(dtype), 1.0 - smoothing)

    def _binary(self, z: Tensor, target: Tensor) -> Tensor:
        ones = target[..., 1] if target.is_floating_point() else target
        ones = ones.to(z.dtype) * (1.0 - self._smoothing) + self._smoothing / 2
        if self._weight is None:
            return F.binary_cross_entropy_with_logits(z, ones, reduction="none").mean(dim=1)
        zero, one = self._weight[:, :1], self._weight[:, 1:]
        terms = -one * ones * F.logsigmoid(z) - zero * (1.0 - ones) * F.logsigmoid(-z)
        return self._mean(terms, target)

    def _row_weights(self, target: Tensor) -> Tensor:
        """Give each row the weight of its class, or of its classes by their shares, (K, B)."""
        assert self._weight is not None
        if target.is_floating_point():
            return torch.einsum("kbc,kc->kb", target, self._weight.to(target.dtype))
        return self._weight.gather(1, target)


class _CrossEntropy(torch.autograd.Function):
    """Each row's cross entropy with weighted shares: (K, B, C), (K, B, C) -> (K, B).

    The classes become the first axis: torch adds up a short last axis slowly (its log_softmax takes 340
    microseconds for 1,024 rows of 10 classes on one thread, all of this 60).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, shares: Tensor) -> Tensor:
        shares = shares.flatten(0, 1).t().contiguous()
        centred = logits.flatten(0, 1).t().to(shares.dtype).contiguous()
        centred = centred - centred.amax(dim=0)
        powers = centred.exp()
        total = powers.sum(dim=0)
        ctx.save_for_backward(powers.div_(total), shares)
        ctx.shape, ctx.dtype = logits.shape, logits.dtype
        return centred.sub_(total.log_()).mul_(shares).sum(dim=0).neg_().reshape(logits.shape[:2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        probabilities, shares = ctx.saved_tensors
        of_logits = probabilities.mul(shares.sum(dim=0)).sub_(shares).mul_(gradients[0].reshape(-1))
        return of_logits.t().to(ctx.dtype).reshape(ctx.shape), None


def _mse(z: Tensor, target: Tensor, delta: Tensor) -> Tensor:
    return (z - target).square()


def _mae(z: Tensor, target: Tensor, delta: Tensor) -> Tensor:
    return (z - target).abs()


def _huber(z: Tensor, target: Tensor, delta: Tensor) -> Tensor:
    miss = (z - target).abs()
    return torch.where(miss < delta, 0.5 * miss.square(), delta * (miss - 0.5 * delta))


_OF_VALUES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"mse": _mse, "mae": _mae, "huber": _huber}
