"""Whole cohorts trained as one stacked network: the same trials, at a fraction of the cost of each.

`can_fuse` says whether members can be, `choose` whether they should be, and `train_cohort` trains them. A single
one has nothing to share; `train_lean` spares it the Trainer.
"""

from lightning_modules.fused.choice import Choice, choose
from lightning_modules.fused.cohort import CohortMember, train_cohort
from lightning_modules.fused.fusion import FREE, can_fuse, fusion_key
from lightning_modules.fused.lean import can_train_lean, train_lean

__all__ = [
    "FREE",
    "Choice",
    "CohortMember",
    "can_fuse",
    "can_train_lean",
    "choose",
    "fusion_key",
    "train_cohort",
    "train_lean",
]
