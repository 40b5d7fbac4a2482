"""Normalizations by name, for features (B, C), series (B, C, T) and images (B, C, H, W)."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor, nn

from lightning_modules.errors import ConfigError
from lightning_modules.registry import Entry, Registry

_LARGEST_GROUPS = 32  # Wu & He 2018, Table 3: best at 32 groups
_SMALLEST_GROUP = 4  # channels: the statistics of one or two features say nothing


class BatchNorm(nn.Module):
    """Batch norm that refuses a batch of one row in training, which has no variance over rows.

    Raises:
        ConfigError: In training, on a batch of one row.
    """

    def __init__(self, layer: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each channel."""
        if self.training and x.shape[0] == 1:
            refuse_single_row()
        normed: Tensor = self.layer(x)
        return normed


def refuse_single_row() -> NoReturn:
    """Say that a training batch of one row has no variance over rows.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError(
        "batch norm needs at least 2 rows in a training batch, got 1: raise the batch size, drop a last "
        "partial batch of one row, or take norm layer or group",
        field="norm",
    )


class ChannelNorm(nn.Module):
    """A norm over the channels of each position of a map, as ConvNeXt has it; works at any size and batch.

    Shapes:
        x: (B, C, ...) -> (B, C, ...)

    Args:
        norm: Layer or RMS norm of C features in the last axis.
    """

    def __init__(self, norm: nn.LayerNorm | nn.RMSNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each position."""
        normed: Tensor = self.norm(x.movedim(1, -1))
        return normed.movedim(-1, 1)


def num_groups(channels: int) -> int:
    """Choose a group norm's groups: the most, up to 32, that cut the channels into equal groups of 4 or more.

    Channels that no such number divides make one group.
    """
    most = min(_LARGEST_GROUPS, channels // _SMALLEST_GROUP)
    return next((groups for groups in range(most, 1, -1) if channels % groups == 0), 1)


def _batch(channels: int, spatial: int) -> nn.Module:
    return BatchNorm(nn.BatchNorm2d(channels) if spatial == 2 else nn.BatchNorm1d(channels))


def _layer(channels: int, spatial: int) -> nn.Module:
    return ChannelNorm(nn.LayerNorm(channels)) if spatial else nn.LayerNorm(channels)


def _rms(channels: int, spatial: int) -> nn.Module:
    return ChannelNorm(nn.RMSNorm(channels)) if spatial else nn.RMSNorm(channels)


def _group(channels: int, spatial: int) -> nn.Module:
    return nn.GroupNorm(num_groups(channels), channels)


def _instance(channels: int, spatial: int) -> nn.Module:
    if spatial == 0:
        raise ConfigError(
            "instance norm needs positions to average over, and plain features have none: take layer or group",
            field="norm",
        )
    kind = nn.InstanceNorm2d if spatial == 2 else nn.InstanceNorm1d
    return kind(channels, affine=True)


def _none(channels: int, spatial: int) -> nn.Module:
    return nn.Identity()


NORMS: Registry[nn.Module] = Registry(
    "norm",
    [
        Entry(
            name="none",
            factory=_none,
            formula="x",
            range="as the input",
            used_for="shallow nets, selu",
            source="-",
        ),
        Entry(
            name="batch",
            factory=_batch,
            formula="g (x - mean) / sqrt(var + 1e-5) + b over batch and positions; running ones in evaluation",
            range="mean 0, variance 1 per channel",
            used_for="the default of convolutional nets; batches of 16 or more",
            source="Ioffe & Szegedy 2015, arXiv:1502.03167",
        ),
        Entry(
            name="layer",
            factory=_layer,
            formula="g (x - mean) / sqrt(var + 1e-5) + b over the channels of each row and position",
            range="mean 0, variance 1 per row and position",
            used_for="recurrent nets; small batches; ConvNeXt",
            source="Ba, Kiros & Hinton 2016, arXiv:1607.06450",
        ),
        Entry(
            name="group",
            factory=_group,
            formula="as layer, over the positions and a group of at least 4 channels, at most 32 groups",
            range="mean 0, variance 1 per row and group",
            used_for="convolutional nets with small batches",
            source="Wu & He 2018, arXiv:1803.08494",
        ),
        Entry(
            name="instance",
            factory=_instance,
            formula="as layer, over the positions of each channel",
            range="mean 0, variance 1 per row and channel",
            used_for="images whose contrast carries no meaning; needs positions",
            source="Ulyanov et al. 2016, arXiv:1607.08022",
        ),
        Entry(
            name="rms",
            factory=_rms,
            formula="g x / sqrt(mean(x^2) + eps) over the channels of each row and position",
            range="root mean square 1 per row and position",
            used_for="as layer, cheaper",
            source="Zhang & Sennrich 2019, arXiv:1910.07467",
        ),
    ],
    title="Norms",
    about="batch is the default of mlp and cnn; it needs batches, and refuses one of a single row in training. "
    "group, layer and rms do not depend on the batch. The norm stands before the activation; "
    "`norm_position: after` puts it behind.",
)


def make_norm(name: str, channels: int, *, spatial: int = 0) -> nn.Module:
    """Make a norm.

    Args:
        name: A name of `NORMS`.
        channels: Features or channels, axis 1.
        spatial: Axes behind the channels: 0 features, 1 series, 2 images.

    Raises:
        ConfigError: No norm has this name, or it does not fit the axes.
    """
    return NORMS[name].factory(channels, spatial)
