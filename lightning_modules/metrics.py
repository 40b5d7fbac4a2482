"""Metrics by task, fed with `(predictions, target)`: the network's raw output and the target as the data gives it.

An epoch's predictions are kept and scored once at its end: an update then costs two list appends, where
torchmetrics' own classes cost about 130 microseconds a batch (measured, 10 classes).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
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


def make_metrics(info: DataInfo, *, auroc: bool = False) -> MetricCollection:
    """Make the metrics of an epoch: cheap enough for every validation.

    Classification gives `accuracy` and `macro_f1` (classes that neither occur nor are predicted are left out of
    the mean), and with `auroc` the area under the ROC curve, averaged over one class against the rest (about 3 ms
    for 2,000 rows and 10 classes; classes that do not occur are left out). Regression gives `rmse`, `mae` and
    `r2`, in the target's own unit.
    """
    if info.task == "regression":
        prepare = partial(_own_unit, mean=info.target_mean, std=info.target_std)
        values: dict[str, Score] = {
            "rmse": partial(mean_squared_error, squared=False),
            "mae": mean_absolute_error,
            "r2": r2_score,
        }
        return _collect(values, prepare)
    return _collect(_class_scores(info.num_outputs, auroc=auroc), _as_probabilities)


def make_report_metrics(info: DataInfo) -> MetricCollection:
    """Make the metrics of the final report: those of an epoch, and for classification three more.

    `auroc` is a number, `per_class_f1` has shape (K,), `confusion_matrix` (K, K) counts rows with the true class
    as row index and the predicted one as column index.
    """
    if info.task == "regression":
        return make_metrics(info)
    classes = info.num_outputs
    scores = _class_scores(classes, auroc=True) | {
        "per_class_f1": partial(multiclass_f1_score, num_classes=classes, average=None, validate_args=False),
        "confusion_matrix": partial(multiclass_confusion_matrix, num_classes=classes, validate_args=False),
    }
    return _collect(scores, _as_probabilities)


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


def _class_scores(classes: int, *, auroc: bool) -> dict[str, Score]:
    scores: dict[str, Score] = {
        "accuracy": partial(multiclass_accuracy, num_classes=classes, average="micro", validate_args=False),
        "macro_f1": partial(multiclass_f1_score, num_classes=classes, average="macro", validate_args=False),
    }
    return scores | {"auroc": partial(_macro_auroc, num_classes=classes)} if auroc else scores


def _macro_auroc(probabilities: Tensor, target: Tensor, *, num_classes: int) -> Tensor:
    """Average one class against the rest over the classes that occur; not a number where one class is all rows."""
    with warnings.catch_warnings():  # torchmetrics gives a class that does not occur 0, with a warning
        warnings.simplefilter("ignore", UserWarning)
        areas: Tensor = multiclass_auroc(
            probabilities, target, num_classes=num_classes, average="none", validate_args=False
        )
    counts = torch.bincount(target, minlength=num_classes)
    return areas[(counts > 0) & (counts < len(target))].mean()


def _collect(scores: dict[str, Score], prepare: Callable[..., tuple[Tensor, Tensor]]) -> MetricCollection:
    """Put metrics into one compute group: their states are the same, so a batch is kept once."""
    metrics: dict[str, Metric | MetricCollection] = {
        name: EpochMetric(score, prepare) for name, score in scores.items()
    }
    return MetricCollection(metrics, compute_groups=[list(scores)])


def _as_probabilities(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return class_probabilities(logits.float()), target


def _own_unit(predictions: Tensor, target: Tensor, *, mean: float, std: float) -> tuple[Tensor, Tensor]:
    return predictions.float().reshape(-1) * std + mean, target.float() * std + mean
