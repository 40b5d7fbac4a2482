"""Augmentation: training batches, changed at random in ways that leave their labels right.

Off by default. `make_augmentation` turns the recipe's settings into what a training loader calls for each batch;
validation, test and prediction have no place to call it from.
"""

from lightning_modules.augmentation.batch import BatchAugmentation, check_augmentation, make_augmentation
from lightning_modules.augmentation.images import IMAGE_AUGMENTATIONS
from lightning_modules.augmentation.mixing import MIXES
from lightning_modules.augmentation.series import SERIES_AUGMENTATIONS
from lightning_modules.augmentation.texts import TEXT_AUGMENTATIONS

__all__ = [
    "IMAGE_AUGMENTATIONS",
    "MIXES",
    "SERIES_AUGMENTATIONS",
    "TEXT_AUGMENTATIONS",
    "BatchAugmentation",
    "check_augmentation",
    "make_augmentation",
]
