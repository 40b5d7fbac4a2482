"""Figures for the tracking server: matplotlib, which MLflow brings along, without its global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from search_spaces import suggest_lr_range
from search_spaces.lr_range import smooth_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LR_RANGE_FILE = "lr_range_test.png"


def lr_range_figure(curves: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw a range test: each seed's losses, their smoothed median, and the range that follows.

    Args:
        curves: `lr` and `loss` of each step, at least one.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for number, curve in enumerate(curves):
        losses = [float("nan") if loss is None else loss for loss in curve["loss"]]
        axes.plot(curve["lr"], losses, alpha=0.35, linewidth=0.8, label=f"seed {number}")
    rates, medians = zip(*smooth_curves(curves), strict=True)
    axes.plot(rates, medians, color="black", label="smoothed median")
    found = suggest_lr_range(curves, low=rates[0], high=rates[-1])
    if found is not None:
        axes.axvspan(found.low, found.high, alpha=0.12, label="range for the first stage")
        axes.axvline(found.steepest, linestyle=":", label="steepest fall")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    if 0 < medians[0] < math.inf:
        axes.set_ylim(0, 2 * medians[0])  # a blow-up would leave nothing else to see
    axes.legend()
    return figure
