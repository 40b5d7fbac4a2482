"""Starting from weights that were trained before, on other rows or other classes.

The network is the same but for its head: `output`, which is new where the classes differ. What is loaded may be
frozen for the first epochs, and learns with a smaller learning rate after them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_modules.data.base import DataInfo
from lightning_modules.errors import ConfigError

HEAD = "output."
_EMBEDDING = "embedding.weight"  # of words; their rows are found by word, not by number


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a network starts from.

    Args:
        weights: State of a network, by name.
        class_names: Of the classes that its head tells apart; empty for regression.
        words: Its vocabulary, where it reads texts.
    """

    weights: Mapping[str, Tensor]
    class_names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def load_start(network: nn.Module, start: Start, info: DataInfo, *, words: Sequence[str] = ()) -> frozenset[str]:
    """Load what fits; the head stays as it is where the classes differ, and so does a word that is new.

    Args:
        network: A new one.
        start: What it starts from.
        info: Of the data that it is going to be trained on.
        words: Vocabulary of that data.

    Returns:
        Names of the parameters that are loaded, the head aside.

    Raises:
        ConfigError: Another shape, or weights that only one of the two has.
    """
    ours = network.state_dict()
    theirs = dict(start.weights)
    if start.words and _EMBEDDING in theirs and _EMBEDDING in ours:
        theirs[_EMBEDDING] = _by_word(ours[_EMBEDDING], theirs[_EMBEDDING], start.words, words)
    if start.class_names != info.class_names or not _same_shape(ours, theirs, HEAD):
        theirs = {name: weight for name, weight in theirs.items() if not name.startswith(HEAD)}
        theirs |= {name: weight for name, weight in ours.items() if name.startswith(HEAD)}
    _check_shapes(ours, theirs)
    network.load_state_dict(theirs)
    return frozenset(name for name, _ in network.named_parameters() if not name.startswith(HEAD))


def _by_word(ours: Tensor, theirs: Tensor, old: Sequence[str], new: Sequence[str]) -> Tensor:
    """Lay the rows of the words that both know into ours, (V_new, D)."""
    places = {word: row for row, word in enumerate(old)}
    known = [(row, places[word]) for row, word in enumerate(new) if word in places]
    if theirs.shape[1] != ours.shape[1] or not known:
        return theirs
    to, of = torch.tensor(known).T
    return ours.index_copy(0, to, theirs[of].to(ours.dtype))


def _same_shape(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], prefix: str) -> bool:
    def shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
        return {name: weight.shape for name, weight in state.items() if name.startswith(prefix)}

    return shapes(ours) == shapes(theirs)


def _check_shapes(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    for name in sorted(ours.keys() | theirs.keys()):
        left, right = (tuple(state[name].shape) if name in state else None for state in (ours, theirs))
        if left != right:
            here, there = ("no such weight" if shape is None else f"shape {shape}" for shape in (left, right))
            raise ConfigError(
                f"a network starts from one of its own shape, {name} has {here} here and {there} there: give data "
                "with the same inputs, or another bundle",
                field="start_from",
            )


class Thaw:
    """Freezes loaded parameters for the first epochs of a trial; batch norms keep their statistics meanwhile.

    Args:
        network: The network.
        loaded: Names of the loaded parameters.
        freeze_epochs: They learn from this epoch on, counted from 0.
    """

    def __init__(self, network: nn.Module, loaded: frozenset[str], *, freeze_epochs: int) -> None:
        self._parameters = [p for name, p in network.named_parameters() if name in loaded]
        self._norms = [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        self._freeze_epochs = freeze_epochs

    def start_epoch(self, epoch: int) -> None:
        """Freeze or thaw for an epoch, counted from 0; it follows from the epoch alone."""
        if self._freeze_epochs == 0:
            return
        learns = epoch >= self._freeze_epochs
        for parameter in self._parameters:
            parameter.requires_grad_(learns)
        for norm in self._norms:
            norm.train(learns)
