"""What every engine's slots call: any leg -> its result."""

from __future__ import annotations

from lightning_modules.process import torch_threads
from service.engine.probes import probe_leg
from service.engine.train import LegContext, train_leg
from service.legs import Leg, LegResult


def run_leg(context: LegContext, leg: Leg) -> LegResult:
    """Train the trials of a leg, or carry out its probe: on the context's threads from the first weight on."""
    with torch_threads(context.num_threads):
        return train_leg(context, leg) if leg.kind == "train" else probe_leg(context, leg)
