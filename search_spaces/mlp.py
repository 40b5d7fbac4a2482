"""The search space of the MLP family (tables, and small images laid flat)."""

from __future__ import annotations

from search_spaces import augmentation, common
from search_spaces.parameters import Choice
from search_spaces.space import SearchSpace

MLP = SearchSpace(
    name="mlp",
    parameters=(
        common.learning_rate(default=2e-3),
        common.dropout(default=0.1),
        Choice(
            name="width",
            choices=(32, 64, 128, 256, 512),
            ordered=True,
            default=128,
            why="powers of two from clearly too small to clearly enough for tables; cost grows with its square",
            source="Goodfellow et al. 2016, Deep Learning, ch. 11.4.1: capacity grows with hidden units",
        ),
        common.batch_size(default=64),
        common.weight_decay(default=1e-4),
        common.embedding_dim(choices=(2, 4, 8, 16, 32), default=8),
        common.optimizer(),
        common.activation(default="relu"),
        Choice(
            name="depth",
            choices=(1, 2, 3, 4),
            ordered=True,
            default=2,
            why="hidden layers: one to four cover tables; beyond that a plain stack is hard to train",
            source="Zimmer, Lindauer & Hutter 2021, Auto-PyTorch (LCBench): 1 to 5 layers, effect about 6 %",
        ),
        Choice(
            name="norm",
            choices=("none", "batch", "layer"),
            default="batch",
            why="normalization steadies deep or wide stacks; shallow ones may do without",
            source="Ioffe & Szegedy 2015; Ba, Kiros & Hinton 2016",
        ),
    ),
    companions={"depth": "lr"},
    optional=augmentation.IMAGES,
)
