"""Metrics by task, fed with `(predictions, target)`: the network's raw output and the target as the data gives it.

An epoch's predictions are kept and scored once at its end: an update then costs two list appends, where
torchmetrics' own classes cost about 130 microseconds a batch (measured, 10 classes).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.functional import mean_absolute_error, mean_squared_error, r2_score
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_confusion_matrix,
    multiclass_f1_score,
)
from torchmetrics.utilities import dim_zero_cat

from lightning_modules.data.base import DataInfo
from lightning_modules.registry import Entry, Registry

Score = Callable[[Tensor, Tensor], Tensor]


class EpochMetric(Metric):
    """A score over all predictions of an epoch.

    Shapes:
        predictions: (B, num_outputs) logits or standardized values; target: (B,)

    Args:
        score: Function of all prepared predictions and targets.
        prepare: Turns all predictions and targets into what `score` compares.
    """

    full_state_update = False
    predictions: list[Tensor]
    target: list[Tensor]

    def __init__(self, score: Score, prepare: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self._score, self._prepare = score, prepare
        self.add_state("predictions", default=[], dist_reduce_fx="cat")
        self.add_state("target", default=[], dist_reduce_fx="cat")

    def update(self, predictions: Tensor, target: Tensor) -> None:
        """Keep one batch."""
        self.predictions.append(predictions.detach())
        self.target.append(target.detach())

    def compute(self) -> Tensor:
        """Score all batches since the last reset."""
        return self._score(*self._prepare(dim_zero_cat(self.predictions), dim_zero_cat(self.target)))


def class_probabilities(logits: Tensor) -> Tensor:
    """Turn logits into probabilities; one column (`bce`) is the logit of class 1 of two.

    Shapes:
        logits: (B, K), or (B, 1) for two classes -> (B, K) or (B, 2)
    """
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)  # softmax of (0, z) is sigmoid(z)
    return logits.softmax(dim=1)


def _classes(score: Callable[..., Tensor], **options: Any) -> Callable[[int], Score]:
    return lambda num_classes: partial(score, num_classes=num_classes, validate_args=False, **options)


def _values(score: Callable[..., Tensor], **options: Any) -> Callable[[int], Score]:
    return lambda num_classes: partial(score, **options)


def _macro_auroc(probabilities: Tensor, target: Tensor, *, num_classes: int) -> Tensor:
    """Average one class against the rest over the classes that occur; not a number where one class is all rows."""
    with warnings.catch_warnings():  # torchmetrics gives a class that does not occur 0, with a warning
        warnings.simplefilter("ignore", UserWarning)
        areas: Tensor = multiclass_auroc(
            probabilities, target, num_classes=num_classes, average="none", validate_args=False
        )
    counts = torch.bincount(target, minlength=num_classes)
    return areas[(counts > 0) & (counts < len(target))].mean()


_EVERY_EPOCH = "after every epoch as `val_{0}`, on the test split as `test_{0}`"
_REPORT = "on the test split, in the job's result and its bundle"

METRICS: Registry[Score] = Registry(
    "metric",
    [
        Entry(
            name="accuracy",
            factory=_classes(multiclass_accuracy, average="micro"),
            formula="right rows / all rows",
            range="[0, 1], higher is better",
            used_for="classification with classes of about equal size; the default",
            source="torchmetrics multiclass_accuracy, average micro",
            where=_EVERY_EPOCH.format("accuracy"),
        ),
        Entry(
            name="macro_f1",
            factory=_classes(multiclass_f1_score, average="macro"),
            formula="mean over classes of F1_k = 2 TP_k / (2 TP_k + FP_k + FN_k)",
            range="[0, 1], higher is better",
            used_for="unbalanced classes: a rare one counts as much as a frequent one",
            source="van Rijsbergen 1979, ch. 7; torchmetrics multiclass_f1_score, average macro",
            where=_EVERY_EPOCH.format("macro_f1"),
        ),
        Entry(
            name="auroc",
            factory=lambda num_classes: partial(_macro_auroc, num_classes=num_classes),
            formula="P(score of a row of class k > score of another row), mean over k against the rest",
            range="[0, 1], 0.5 is chance, higher is better",
            used_for="ranking, and thresholds that are chosen later; classes that do not occur are left out",
            source="Hand & Till 2001, doi:10.1023/A:1010920819831; torchmetrics multiclass_auroc",
            where="as `val_auroc` after every epoch where it is the objective, and on the test split",
        ),
        Entry(
            name="per_class_f1",
            factory=_classes(multiclass_f1_score, average=None),
            formula="F1_k = 2 TP_k / (2 TP_k + FP_k + FN_k)",
            range="[0, 1] for each class, shape (K,)",
            used_for="finding the class that macro F1 suffers from",
            source="torchmetrics multiclass_f1_score, average None",
            where=_REPORT,
        ),
        Entry(
            name="confusion_matrix",
            factory=_classes(multiclass_confusion_matrix),
            formula="C[i, j] = rows of class i that are predicted as j",
            range="counts, shape (K, K)",
            used_for="seeing which classes are taken for which",
            source="torchmetrics multiclass_confusion_matrix",
            where=_REPORT,
        ),
        Entry(
            name="rmse",
            factory=_values(mean_squared_error, squared=False),
            formula="sqrt(mean (z - y)^2)",
            range="[0, inf) in the target's unit, lower is better",
            used_for="regression where large errors are worse than many small ones; the default",
            source="torchmetrics mean_squared_error, squared False",
            where=_EVERY_EPOCH.format("rmse"),
        ),
        Entry(
            name="mae",
            factory=_values(mean_absolute_error),
            formula="mean |z - y|",
            range="[0, inf) in the target's unit, lower is better",
            used_for="regression with outliers",
            source="torchmetrics mean_absolute_error",
            where=_EVERY_EPOCH.format("mae"),
        ),
        Entry(
            name="r2",
            factory=_values(r2_score),
            formula="1 - sum (z - y)^2 / sum (y - mean(y))^2",
            range="(-inf, 1], 0 is the mean's, higher is better",
            used_for="regression across targets of different units",
            source="torchmetrics r2_score",
            where=_EVERY_EPOCH.format("r2"),
        ),
    ],
    title="Metrics",
    about="A score is over all rows of a split, not a mean over batches. `objective.metric` names the one that "
    "decides: accuracy, or macro F1 where classes are unbalanced.",
)

_EPOCH_SCORES: Mapping[str, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1"),
    "regression": ("rmse", "mae", "r2"),
}
_REPORT_SCORES: Mapping[str, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1", "auroc", "per_class_f1", "confusion_matrix"),
    "regression": ("rmse", "mae", "r2"),
}


def make_metrics(info: DataInfo, *, auroc: bool = False) -> MetricCollection:
    """Make the metrics of an epoch: cheap enough for every validation.

    Classification gives `accuracy` and `macro_f1` (classes that neither occur nor are predicted are left out of
    the mean), and with `auroc` the area under the ROC curve, averaged over one class against the rest (about 3 ms
    for 2,000 rows and 10 classes; classes that do not occur are left out). Regression gives `rmse`, `mae` and
    `r2`, in the target's own unit.
    """
    names = _EPOCH_SCORES[info.task]
    return _collect((*names, "auroc") if auroc and info.task == "classification" else names, info)


def make_report_metrics(info: DataInfo) -> MetricCollection:
    """Make the metrics of the final report: those of an epoch, and for classification three more.

    `auroc` is a number, `per_class_f1` has shape (K,), `confusion_matrix` (K, K) counts rows with the true class
    as row index and the predicted one as column index.
    """
    return _collect(_REPORT_SCORES[info.task], info)


def name_classes(values: Mapping[str, Tensor], info: DataInfo) -> dict[str, dict[str, Any]]:
    """Write a report's values for each class as JSON, by the classes' names.

    A vector (K,) becomes {class: value}; a matrix (K, K) {true class: {predicted class: count}} without zeros.
    """
    names = info.class_names or tuple(map(str, range(info.num_outputs)))
    named: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        by_class = dict(zip(names, value.tolist(), strict=True))
        if value.ndim == 2:
            by_class = {
                true: {predicted: count for predicted, count in zip(names, row, strict=True) if count}
                for true, row in by_class.items()
            }
        named[key] = by_class
    return named


def _collect(names: Sequence[str], info: DataInfo) -> MetricCollection:
    """Put metrics into one compute group: their states are the same, so a batch is kept once."""
    prepare: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = _as_probabilities
    if info.task == "regression":
        prepare = partial(_own_unit, mean=info.target_mean, std=info.target_std)
    metrics: dict[str, Metric | MetricCollection] = {
        name: EpochMetric(METRICS[name].factory(info.num_outputs), prepare) for name in names
    }
    return MetricCollection(metrics, compute_groups=[list(names)])


def _as_probabilities(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return class_probabilities(logits.float()), target


def _own_unit(predictions: Tensor, target: Tensor, *, mean: float, std: float) -> tuple[Tensor, Tensor]:
    return predictions.float().reshape(-1) * std + mean, target.float() * std + mean
