"""Base of the stacked layers: parameters and buffers of all members under the names that a member's own have."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Stacked(nn.Module):
    """A layer of K members: each of its parameters and buffers is (K, ...).

    Args:
        layers: The members' own, of one shape; they keep their tensors.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        for name, parameter in layers[0].named_parameters(recurse=False):
            parts = [layer.get_parameter(name).detach() for layer in layers]
            self.register_parameter(name, nn.Parameter(torch.stack(parts), requires_grad=parameter.requires_grad))
        for name, _ in layers[0].named_buffers(recurse=False):
            self.register_buffer(name, torch.stack([layer.get_buffer(name) for layer in layers]))

    def keep_members(self, members: Sequence[int]) -> None:
        """Drop the buffers of all members but some; parameters are views of `FlatParameters`, which drops its."""
        for name, buffer in self.named_buffers(recurse=False):
            setattr(self, name, buffer[list(members)])
