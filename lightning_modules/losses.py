"""Losses by name, called as `loss(logits, target)`; classification takes logits, never probabilities.

Shapes:
    classification: logits (B, K) float32, target (B,) int64 -> () float32; `bce`: logits (B, 1)
                    mixed target (B, K) float32: each row's shares of the classes, see `mixup`
    regression:     logits (B, 1) float32, target (B,) float32 (standardized) -> () float32
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.data.base import DataInfo
from lightning_modules.errors import ConfigError
from lightning_modules.registry import Entry, Registry, unknown_name

if TYPE_CHECKING:
    from lightning_modules.recipe import Recipe

_TASKS: dict[str, Literal["classification", "regression"]] = {
    "cross_entropy": "classification",
    "bce": "classification",
    "focal": "classification",
    "mse": "regression",
    "mae": "regression",
    "huber": "regression",
}


class CrossEntropy(nn.CrossEntropyLoss):
    """torch's own, which averages mixed targets over the rows also where classes have weights.

    Here both kinds of target are divided by the sum of the rows' class weights: a target that holds one class
    gives the same loss in both forms.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compare logits (B, K) with classes (B,) or shares (B, K)."""
        loss = super().forward(logits, target)
        if self.weight is None or not target.is_floating_point():
            return loss
        return loss * len(target) / _row_weights(self.weight, target).sum()


class FocalLoss(nn.Module):
    """Cross entropy that plays down rows which are already right.

    With p the softmax of the logits and q the (smoothed) target,
    `-alpha * sum_k w_k q_k (1 - p_k)^gamma log p_k`, averaged as torch averages weighted cross entropy:
    divided by the sum of the rows' class weights.

    Args:
        gamma: Focus; 0 gives cross entropy (exactly, at alpha 1).
        alpha: Factor on the whole loss.
        weight: One weight per class, shape (K,), or none.
        label_smoothing: Share of the target that is spread over all classes.

    Source:
        Lin et al. 2017, arXiv:1708.02002, eq. 4 and 5.
    """

    weight: Tensor | None

    def __init__(
        self, *, gamma: float, alpha: float = 1.0, weight: Tensor | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.gamma, self.alpha, self.label_smoothing = gamma, alpha, label_smoothing
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compare logits (B, K) with classes (B,) or shares (B, K)."""
        num_classes = logits.shape[1]
        log_p = F.log_softmax(logits, dim=1)  # (B, K)
        q = target if target.is_floating_point() else F.one_hot(target, num_classes)
        q = q.to(log_p.dtype) * (1.0 - self.label_smoothing) + self.label_smoothing / num_classes
        # 1 - p through expm1: exact near p = 1, where the power's gradient would otherwise be rounding noise.
        # The floor keeps the gradient of x^gamma finite at x = 0 for gamma below 1.
        miss = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        terms = -q * log_p if self.gamma == 0 else -q * miss.pow(self.gamma) * log_p
        if self.weight is None:
            return self.alpha * terms.sum(dim=1).mean()
        return self.alpha * (terms * self.weight).sum() / _row_weights(self.weight, target).sum()


class BinaryCrossEntropy(nn.Module):
    """Cross entropy of two classes on one logit, that of class 1.

    Equal to cross entropy on the logits (0, z), with the same meaning of smoothing and class weights.

    Args:
        weight: Weights of class 0 and class 1, shape (2,), or none.
        label_smoothing: Share of the target that is spread over both classes.
    """

    weight: Tensor | None

    def __init__(self, *, weight: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compare logits (B, 1) with classes (B,) or shares (B, 2)."""
        z = _one_column(logits)  # (B,)
        q1 = target[:, 1] if target.is_floating_point() else target
        q1 = q1.to(z.dtype) * (1.0 - self.label_smoothing) + self.label_smoothing / 2
        if self.weight is None:
            return F.binary_cross_entropy_with_logits(z, q1)
        terms = -self.weight[1] * q1 * F.logsigmoid(z) - self.weight[0] * (1.0 - q1) * F.logsigmoid(-z)
        return terms.sum() / _row_weights(self.weight, target).sum()


class RegressionLoss(nn.Module):
    """A loss on values that takes the network's column (B, 1) and the target (B,).

    Broadcasting (B, 1) against (B,) would silently compare every row with every other one.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compare values (B, 1) with values (B,)."""
        loss: Tensor = self.loss(_one_column(logits), target)
        return loss


LOSSES: Registry[nn.Module] = Registry(
    "loss",
    [
        Entry(
            name="cross_entropy",
            factory=CrossEntropy,
            formula="-log softmax(z)[y]; with smoothing e the target is (1 - e) onehot(y) + e / K",
            range="[0, inf)",
            used_for="classification; the default",
            source="Szegedy et al. 2016, arXiv:1512.00567, sec. 7 (smoothing)",
        ),
        Entry(
            name="bce",
            factory=BinaryCrossEntropy,
            formula="-y log s(z) - (1 - y) log(1 - s(z)), s the sigmoid, on logits",
            range="[0, inf)",
            used_for="classification of two classes with one output",
            source="torch.nn.BCEWithLogitsLoss (log-sum-exp form)",
        ),
        Entry(
            name="focal",
            factory=FocalLoss,
            formula="-alpha (1 - p_y)^gamma log p_y",
            range="[0, inf)",
            used_for="classification with many easy rows or rare classes",
            source="Lin et al. 2017, arXiv:1708.02002",
        ),
        Entry(
            name="mse",
            factory=lambda: RegressionLoss(nn.MSELoss()),
            formula="mean (z - y)^2",
            range="[0, inf)",
            used_for="regression; the default",
            source="torch.nn.MSELoss",
        ),
        Entry(
            name="mae",
            factory=lambda: RegressionLoss(nn.L1Loss()),
            formula="mean |z - y|",
            range="[0, inf)",
            used_for="regression towards the median, with outliers",
            source="torch.nn.L1Loss",
        ),
        Entry(
            name="huber",
            factory=lambda *, delta: RegressionLoss(nn.HuberLoss(delta=delta)),
            formula="(z - y)^2 / 2 where |z - y| <= delta, else delta (|z - y| - delta / 2)",
            range="[0, inf)",
            used_for="regression with some outliers",
            source="Huber 1964, doi:10.1214/aoms/1177703732",
        ),
    ],
    title="Losses",
    about="`auto` is cross_entropy for classes and mse for values. Classification takes logits: a softmax "
    "before the loss would be applied twice. `label_smoothing` and `class_weights` work with all three "
    "losses of classification.",
)


def _no_weights(info: DataInfo) -> None:
    return None


def balanced_weights(info: DataInfo) -> Tensor:
    """Weigh each class by N / (K n_k), so that the average weight of a row is 1; absent classes get 0.

    Returns:
        Weights, shape (K,), float32.

    Raises:
        ConfigError: `info` has no class counts.

    Source:
        King & Zeng 2001, doi:10.1093/oxfordjournals.pan.a004868 (as in scikit-learn's "balanced").
    """
    if len(info.class_counts) != info.num_outputs or not sum(info.class_counts):
        raise ConfigError(
            f"'balanced' needs the count of each of {info.num_outputs} classes, got {info.class_counts}: "
            "give DataInfo.class_counts, or take class_weights none",
            field="class_weights",
        )
    counts = torch.tensor(info.class_counts, dtype=torch.float32)
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp_min(1.0))
    return torch.where(present, weights, torch.zeros_like(weights))


CLASS_WEIGHTS: Registry[Tensor | None] = Registry(
    "class_weights",
    [
        Entry(
            name="none",
            factory=_no_weights,
            formula="w_k = 1",
            range="1",
            used_for="classes of about equal size; the default",
            source="-",
        ),
        Entry(
            name="balanced",
            factory=balanced_weights,
            formula="w_k = N / (K n_k), n_k rows of class k among N in training",
            range="(0, inf), 1 on average over rows; 0 for a class without rows",
            used_for="rare classes that count as much as frequent ones, as macro F1 counts them",
            source="King & Zeng 2001, doi:10.1093/oxfordjournals.pan.a004868",
        ),
    ],
    title="Class weights",
    about="They weigh the rows in all three losses of classification; a batch's loss is divided by their sum.",
)


def loss_name(recipe: Recipe, info: DataInfo) -> str:
    """Resolve `loss: auto` by the task, and check that the loss fits it.

    Raises:
        ConfigError: The loss belongs to the other task, or `bce` meets more than two classes.
    """
    if recipe.loss == "auto":
        return "cross_entropy" if info.task == "classification" else "mse"
    if _TASKS[recipe.loss] != info.task:
        fitting = ", ".join(name for name, task in _TASKS.items() if task == info.task)
        raise ConfigError(
            f"a loss must fit the task, got {recipe.loss!r} for {info.task}: take auto or one of {fitting}",
            field="loss",
        )
    if recipe.loss == "bce" and info.num_outputs != 2:
        raise ConfigError(
            f"'bce' needs exactly 2 classes, got {info.num_outputs}: take cross_entropy or focal", field="loss"
        )
    return recipe.loss


def num_outputs(recipe: Recipe, info: DataInfo) -> int:
    """Say how many columns the network must give: `info.num_outputs`, or 1 for `bce`."""
    return 1 if loss_name(recipe, info) == "bce" else info.num_outputs


def make_loss(recipe: Recipe, info: DataInfo) -> nn.Module:
    """Make the loss that a recipe names for a data set.

    Raises:
        ConfigError: The loss or the class weights contradict the data.
    """
    name = loss_name(recipe, info)
    factory = LOSSES[name].factory
    weight = class_weights(recipe, info)
    if info.task == "regression":
        return factory(delta=recipe.huber_delta) if name == "huber" else factory()
    if name == "focal":
        return factory(gamma=recipe.focal_gamma, weight=weight, label_smoothing=recipe.label_smoothing)
    return factory(weight=weight, label_smoothing=recipe.label_smoothing)


def class_weights(recipe: Recipe, info: DataInfo) -> Tensor | None:
    """Give the weight of each class in the order of the outputs, shape (K,), float32; None for no weights.

    Raises:
        ConfigError: The task has no classes, a name is no class, or `info` lacks the counts of the classes.
    """
    given = recipe.class_weights
    if given == "none":
        return None
    if info.task == "regression":
        raise ConfigError(
            f"class weights need classes, got {given!r} for regression: take none", field="class_weights"
        )
    if isinstance(given, str):
        return CLASS_WEIGHTS[given].factory(info)
    for name in given:
        if name not in info.class_names:
            raise ConfigError(f"a class {unknown_name(name, info.class_names)}", field="class_weights")
    return torch.tensor([float(given.get(name, 1.0)) for name in info.class_names])


def _row_weights(weight: Tensor, target: Tensor) -> Tensor:
    """Give each row the weight of its class, or of its classes by their shares, (B,)."""
    return target @ weight.to(target.dtype) if target.is_floating_point() else weight[target]


def _one_column(logits: Tensor) -> Tensor:
    if logits.ndim != 2 or logits.shape[1] != 1:
        raise ConfigError(
            f"one output per row is needed, shape (B, 1), got {tuple(logits.shape)}: build the network with "
            "num_outputs=1",
            field="loss",
        )
    return logits[:, 0]
