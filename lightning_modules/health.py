"""What a network's health is measured by, and when it is bad: names, limits and words. Light to import.

Measured at the first step of epochs that are watched by `lightning_modules.health_watch`, with `LAYER` as the
module names it:

    health/gradient_norm/LAYER     of all of a layer's parameters together, before clipping
    health/activation_mean/LAYER   of an activation's or recurrent layer's output, over rows, units and positions
    health/activation_std/LAYER    the same
    health/dead_share/LAYER        units of a relu that are 0 for every row of the batch, at every position
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

PREFIX = "health/"
GRADIENT, MEAN, STD, DEAD = (
    f"{PREFIX}{kind}/" for kind in ("gradient_norm", "activation_mean", "activation_std", "dead_share")
)

# A layer of sigmoids passes at most a quarter of the gradient: seven in a row pass less than this share.
VANISHING = 1e-4
# Losses are means over rows and targets are standardized, so that sound norms are of the order of 1; limits for
# clipping are 0.1 to 10 in use: Pascanu et al. 2013, arXiv:1211.5063.
EXPLODING = 1e3
# He et al. 2015, arXiv:1502.01852, keep half of each unit's values alive; here half of the units never are.
MOSTLY_DEAD = 0.5
# Sound activations are of the order of 1 whatever the depth: Glorot & Bengio 2010, sec. 4.
FLAT, HUGE = 1e-4, 1e3

SHORT_EPOCH = 32  # steps; to watch one of fewer costs more than a fiftieth of a small network's epoch

Metrics = Mapping[str, float | None]


def is_watched(epoch: int, num_steps: float) -> bool:
    """Say whether health is measured in an epoch, which counts from 0: of short ones in every second."""
    return num_steps >= SHORT_EPOCH or epoch % 2 == 0


def without_health(metrics: Metrics) -> dict[str, float | None]:
    """Leave out the measures of health: they say nothing about predictions."""
    return {name: value for name, value in metrics.items() if not name.startswith(PREFIX)}


def complaints(epochs: Iterable[Metrics]) -> list[str]:
    """Say what was bad about a trial's health, in sentences; none where all was well.

    What explodes counts in any epoch; what is dead, flat or vanishing only if it was still so when it was measured
    last.

    Args:
        epochs: Every value that was logged, epoch by epoch; None is not finite.
    """
    history = list(epochs)
    last = next((one for one in reversed(history) if any(name.startswith(PREFIX) for name in one)), {})
    return [*_not_finite(history), *_exploding(history), *_vanishing(last), *_still(last)]


def _not_finite(history: Sequence[Metrics]) -> list[str]:
    for number, metrics in enumerate(history, start=1):
        bad = [name for name in ("train_loss", "val_loss") if name in metrics and not _is_finite(metrics[name])]
        if bad:
            return [f"not finite: {bad[0]} in epoch {number}: lower the learning rate, or clip the gradient"]
    return []


def _exploding(history: Sequence[Metrics]) -> list[str]:
    for number, metrics in enumerate(history, start=1):
        norms = _by_layer(metrics, GRADIENT)
        worst = max(norms, key=lambda layer: norms[layer], default=None)
        if worst is not None and norms[worst] > EXPLODING:
            return [
                f"exploding gradient: norm {norms[worst]:.3g} of {worst} in epoch {number} (limit {EXPLODING:g}): "
                "set clip_norm, lower the learning rate, or add a norm"
            ]
    return []


def _vanishing(last: Metrics) -> list[str]:
    norms = {layer: norm for layer, norm in _by_layer(last, GRADIENT).items() if math.isfinite(norm)}
    if len(norms) < 2:
        return []
    least, most = min(norms, key=lambda layer: norms[layer]), max(norms, key=lambda layer: norms[layer])
    if norms[least] >= VANISHING * norms[most]:
        return []
    share = norms[least] / norms[most]
    return [
        f"vanishing gradient: {least} gets {share:.1g} of what {most} gets (limit {VANISHING:g}): take another "
        "activation, a norm, shortcuts, or fewer layers"
    ]


def _still(last: Metrics) -> list[str]:
    found = []
    dead = {layer: share for layer, share in _by_layer(last, DEAD).items() if share > MOSTLY_DEAD}
    if dead:
        found.append(
            f"dead units: {fmean(dead.values()):.0%} of {', '.join(dead)} (limit {MOSTLY_DEAD:.0%}): lower the "
            "learning rate, or take leaky_relu or gelu"
        )
    stds = {layer: std for layer, std in _by_layer(last, STD).items() if layer not in dead}
    if flat := [layer for layer, std in stds.items() if std < FLAT]:
        found.append(
            f"flat activations: {', '.join(flat)} give all rows the same (standard deviation below {FLAT:g}): "
            "check initialization, or take a norm"
        )
    means = _by_layer(last, MEAN)
    if huge := [layer for layer, std in stds.items() if max(std, abs(means.get(layer, 0.0))) > HUGE]:
        found.append(f"huge activations: {', '.join(huge)} (mean or deviation beyond {HUGE:g}): take a norm")
    return found


def _by_layer(metrics: Metrics, prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): math.inf if value is None or math.isnan(value) else value
        for name, value in metrics.items()
        if name.startswith(prefix)
    }


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
