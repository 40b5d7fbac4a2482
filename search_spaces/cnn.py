"""The search space of the CNN family (images and series)."""

from __future__ import annotations

from search_spaces import augmentation, common
from search_spaces.parameters import Choice, Float
from search_spaces.space import SearchSpace

CNN = SearchSpace(
    name="cnn",
    parameters=(
        common.learning_rate(default=1e-3),
        common.dropout(default=0.3),
        Choice(
            name="width",
            choices=(8, 16, 32, 64),
            ordered=True,
            default=32,
            why="channels of the stem, doubled at each stage: 8 suits digits, 64 is the stem of ResNet; "
            "cost grows with its square",
            source="He et al. 2016, arXiv:1512.03385, Table 1",
        ),
        common.batch_size(default=64),
        common.weight_decay(default=1e-4),
        common.optimizer(),
        common.activation(default="relu"),
        Choice(
            name="block",
            choices=("plain", "residual", "convnext"),
            default="plain",
            why="what a stage is made of: plain for shallow nets, shortcuts pay off with depth",
            source="He et al. 2016, arXiv:1603.05027; Liu et al. 2022, arXiv:2201.03545",
        ),
        Choice(
            name="kernel_size",
            choices=(3, 5),
            ordered=True,
            default=3,
            why="two 3x3 see as far as one 5x5 with 18 C^2 against 25 C^2 weights: 3 first, 5 where edges blur",
            source="Simonyan & Zisserman 2015, arXiv:1409.1556, sec. 2.3",
        ),
        Float(
            name="dropout2d",
            low=0.0,
            high=0.3,
            default=0.0,
            why="drops whole feature maps; kept low because batch norm sits in the same block",
            source="Tompson et al. 2015, arXiv:1411.4280; Li et al. 2019, arXiv:1801.05134 (disharmony)",
        ),
    ),
    companions={"block": "lr"},
    optional=(*augmentation.IMAGES, *augmentation.SERIES),
)
