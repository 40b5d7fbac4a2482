"""Stacked LSTM layers on a CPU, where one kernel holds all steps of a member: torch's own, from oneDNN.

The matrices of a layer of some width fill a core by themselves, so that a batch of members gains nothing, while
the kernel takes two thirds of the time of a loop of operations. It knows no lengths: steps behind a row's end are
computed and left out, which pays as long as they are few.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# From where the kernel is faster than `recurrent._Loop`, which leaves out the steps behind a row's end (measured:
# docs/fused.md): hidden units, and the share of steps that are not behind it.
MIN_HIDDEN, MIN_SHARE = 64, 0.6


def suits(x: Tensor, lengths: Tensor, *, hidden_size: int) -> bool:
    """Say whether the kernel takes (K, B, T, C) rows of these lengths (K, B), and is the faster way."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and hidden_size >= MIN_HIDDEN
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and float(lengths.sum()) >= MIN_SHARE * x[..., 0].numel()
    )


def lstm(x: Tensor, lengths: Tensor, parameters: Sequence[Tensor], *, backwards: bool) -> Tensor:
    """Run one direction of every member's layer.

    Args:
        x: (K, B, T, C).
        lengths: (K, B), at least 1.
        parameters: The members' weights from the input and from the state and both biases, as torch's layer lays
            them out, K of each.
        backwards: Whether to read from each row's end.

    Returns:
        (K, B, T, H), zero behind the end.
    """
    steps = torch.arange(x.shape[2])
    own = steps < lengths[..., None]
    # A row read from its end, and back: the step that is read, or written, at each place.
    places = torch.where(own, lengths[..., None] - 1 - steps, steps)[..., None] if backwards else None
    if places is not None:
        x = x.gather(2, places.expand_as(x))
    # Taken apart once: the gradients of the parts are then put together once, too.
    members = zip(x.unbind(), *(parameter.unbind() for parameter in parameters), strict=True)
    out = torch.stack([_member(rows, list(weights)) for rows, *weights in members])
    if places is not None:
        out = out.gather(2, places.expand_as(out))
    return out if bool(own.all()) else out * own[..., None]


def _member(x: Tensor, weights: list[Tensor]) -> Tensor:
    start = x.new_zeros(1, len(x), weights[1].shape[1])
    out, _, _ = torch.lstm(
        x,
        (start, start),
        weights,
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=torch.is_grad_enabled(),
        bidirectional=False,
        batch_first=True,
    )
    return out
