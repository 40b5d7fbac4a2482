"""The search space of the RNN family (texts and series)."""

from __future__ import annotations

from search_spaces import augmentation, common
from search_spaces.parameters import Choice
from search_spaces.space import Condition, SearchSpace

RNN = SearchSpace(
    name="rnn",
    parameters=(
        common.learning_rate(default=3e-3),
        common.dropout(default=0.3),
        Choice(
            name="width",
            choices=(32, 64, 128, 256),
            ordered=True,
            default=128,
            why="hidden units of each direction: 32 to 256 cover sentences; time grows with its square",
            source="Greff et al. 2017, arXiv:1503.04069, sec. V: hidden size matters second to learning rate",
        ),
        common.batch_size(default=64),
        common.weight_decay(default=1e-4),
        common.embedding_dim(choices=(32, 64, 128, 256), default=128),
        common.optimizer(),
        Choice(
            name="activation",
            choices=("tanh", "relu"),
            default="tanh",
            why="the vanilla cell's squashing; gated cells fix theirs by their equations",
            source="Le, Jaitly & Hinton 2015, arXiv:1504.00941 (relu cells)",
        ),
        Choice(
            name="cell",
            choices=("gru", "lstm", "vanilla"),
            default="gru",
            why="gated cells carry far; a GRU has 3/4 of the LSTM's weights; vanilla is the baseline",
            source="Chung et al. 2014, arXiv:1412.3555",
        ),
        Choice(
            name="pooling",
            choices=("max", "mean", "last", "attention"),
            default="max",
            why="how steps become one vector: max and mean see every word, last remembers the end",
            source="Conneau et al. 2017, arXiv:1705.02364, sec. 3.2 (max pooling wins for sentences)",
        ),
        Choice(
            name="bidirectional",
            choices=(True, False),
            default=True,
            why="reads from both ends; twice the time",
            source="Schuster & Paliwal 1997",
        ),
    ),
    conditions=(Condition(parameter="activation", when="cell", values=("vanilla",)),),
    companions={"cell": "lr"},
    optional=(*augmentation.TEXTS, *augmentation.SERIES),
)
