"""Family name -> search space."""

from __future__ import annotations

from search_spaces.cnn import CNN
from search_spaces.errors import SpaceError
from search_spaces.mlp import MLP
from search_spaces.rnn import RNN
from search_spaces.space import SearchSpace

SPACES = {space.name: space for space in (MLP, CNN, RNN)}


def get_space(family: str) -> SearchSpace:
    """Look a family's space up.

    Raises:
        SpaceError: There is no such family.
    """
    if family not in SPACES:
        raise SpaceError(f"families are {', '.join(SPACES)}, got {family!r}", field="family")
    return SPACES[family]
