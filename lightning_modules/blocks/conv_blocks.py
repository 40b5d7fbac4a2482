"""Blocks of the CNN family, by name: (B, C_in, ...) to (B, C_out, ...) at the same size, in one or two dimensions.

Each is called as `block(x, mask)`, with the mask of `lightning_modules.blocks.convolution`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.blocks.activations import make_activation
from lightning_modules.blocks.convolution import Conv, ConvStyle, ConvUnit, SqueezeExcite, map_dropout
from lightning_modules.blocks.normalization import make_norm
from lightning_modules.registry import Entry, Registry

_DENSE_LAYERS = 3
_LEAST_GROWTH = 4  # channels: a norm over fewer leaves nothing to learn from
_BRANCHES = 4
_EXPANSION = 4  # ConvNeXt and later inverted bottlenecks; MobileNetV2 has 6
_SQUEEZE = 4  # of the block's input channels: Tan & Le 2019, arXiv:1905.11946
_LAYER_SCALE = 0.1  # Touvron et al. 2021, arXiv:2103.17239, Table 1: 0.1 up to 18 blocks; 1e-6 is for deep nets


class PlainConv(nn.Module):
    """One convolution with norm and activation, as LeNet and VGG stack them.

    Source:
        Simonyan & Zisserman 2015, arXiv:1409.1556.
    """

    def __init__(self, channels_in: int, channels_out: int, style: ConvStyle) -> None:
        super().__init__()
        self.unit = ConvUnit(channels_in, channels_out, style)
        self.dropout = map_dropout(style)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, C_in, ...) to (B, C_out, ...)."""
        out: Tensor = self.dropout(self.unit(x, mask))
        return out


class ResidualConv(nn.Module):
    """Two convolutions around which the input goes; the last activation acts on the sum.

    Source:
        He et al. 2016, arXiv:1512.03385, Fig. 2 (basic block, projection where the channels change).
    """

    def __init__(self, channels_in: int, channels_out: int, style: ConvStyle) -> None:
        super().__init__()
        self.first = ConvUnit(channels_in, channels_out, style)
        self.dropout = map_dropout(style)
        self.second = ConvUnit(channels_out, channels_out, style, activate=False)
        self.shortcut = _projection(channels_in, channels_out, style)
        self.activation = make_activation(style.activation)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, C_in, ...) to (B, C_out, ...)."""
        branch = self.second(self.dropout(self.first(x, mask)), mask)
        out: Tensor = self.activation(self.shortcut(x) + branch)
        return out


class DenseConv(nn.Module):
    """Three convolutions of which each sees the outputs of all before it; a 1x1 convolution gathers them.

    Source:
        Huang et al. 2017, arXiv:1608.06993, eq. 2, with its transition's 1x1 convolution.
    """

    def __init__(self, channels_in: int, channels_out: int, style: ConvStyle) -> None:
        super().__init__()
        growth = max(_LEAST_GROWTH, channels_out // _DENSE_LAYERS)
        self.layers = nn.ModuleList(
            ConvUnit(channels_in + i * growth, growth, style) for i in range(_DENSE_LAYERS)
        )
        self.dropout = map_dropout(style)
        self.transition = ConvUnit(channels_in + _DENSE_LAYERS * growth, channels_out, style, kernel_size=1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, C_in, ...) to (B, C_out, ...)."""
        for layer in self.layers:
            x = torch.cat([x, layer(x, mask)], dim=1)
        out: Tensor = self.dropout(self.transition(x, mask))
        return out


class InceptionConv(nn.Module):
    """Four branches side by side: 1x1; 1x1 then k x k; 1x1 then two k x k; max pooling then 1x1.

    Source:
        Szegedy et al. 2016, arXiv:1512.00567, Fig. 5 (two 3x3 in the place of one 5x5).
    """

    def __init__(self, channels_in: int, channels_out: int, style: ConvStyle) -> None:
        super().__init__()
        share = channels_out // _BRANCHES
        point = channels_out - (_BRANCHES - 1) * share
        self.point = ConvUnit(channels_in, point, style, kernel_size=1)
        self.narrow = _units((channels_in, share, share), (1, style.kernel_size), style)
        self.wide = _units((channels_in, share, share, share), (1, style.kernel_size, style.kernel_size), style)
        self.pooled = ConvUnit(channels_in, share, style, kernel_size=1)
        self.dropout = map_dropout(style)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, C_in, ...) to (B, C_out, ...)."""
        pool = F.max_pool2d if x.ndim == 4 else F.max_pool1d
        around = x if mask is None else x.masked_fill(mask == 0, torch.finfo(x.dtype).min)
        branches = [
            self.point(x, mask),
            _chain(self.narrow, x, mask),
            _chain(self.wide, x, mask),
            self.pooled(pool(around, 3, stride=1, padding=1), mask),
        ]
        out: Tensor = self.dropout(torch.cat(branches, dim=1))
        return out


class InvertedConv(nn.Module):
    """Widen, convolve each channel alone, weigh the channels, narrow; with a shortcut where the channels stay.

    Source:
        Sandler et al. 2018, arXiv:1801.04381, Fig. 3; squeeze-excite as in Tan & Le 2019, arXiv:1905.11946.
    """

    def __init__(self, channels_in: int, channels_out: int, style: ConvStyle) -> None:
        super().__init__()
        hidden = _EXPANSION * channels_in
        self.expand = ConvUnit(channels_in, hidden, style, kernel_size=1)
        self.depthwise = ConvUnit(hidden, hidden, style, groups=hidden)
        self.excite = SqueezeExcite(
            hidden,
            hidden=max(1, channels_in // _SQUEEZE),
            spatial=style.spatial,
            activation=style.activation,
        )
        self.project = ConvUnit(hidden, channels_out, style, kernel_size=1, activate=False)
        self.dropout = map_dropout(style)
        self.has_shortcut = channels_in == channels_out

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, C_in, ...) to (B, C_out, ...)."""
        wide = self.excite(self.depthwise(self.expand(x, mask), mask), mask)
        narrow: Tensor = self.dropout(self.project(wide, mask))
        return x + narrow if self.has_shortcut else narrow


class ConvNeXtConv(nn.Module):
    """Depthwise convolution, norm, two 1x1 convolutions with an activation between, layer scale, shortcut.

    The published block has a 7x7 kernel, layer norm and GELU; here the config says.

    Source:
        Liu et al. 2022, arXiv:2201.03545, Fig. 4.
    """

    def __init__(self, channels_in: int, channels_out: int, style: ConvStyle) -> None:
        super().__init__()
        hidden = _EXPANSION * channels_out
        self.depthwise = Conv(
            channels_in,
            channels_in,
            spatial=style.spatial,
            kernel_size=style.kernel_size,
            dilation=style.dilation,
            groups=channels_in,
        )
        self.norm = make_norm(style.norm, channels_in, spatial=style.spatial)
        self.widen = Conv(channels_in, hidden, spatial=style.spatial, kernel_size=1)
        self.activation = make_activation(style.activation)
        self.narrow = Conv(hidden, channels_out, spatial=style.spatial, kernel_size=1)
        self.scale = nn.Parameter(torch.full((channels_out,), _LAYER_SCALE))
        self.dropout = map_dropout(style)
        self.shortcut = (
            nn.Identity()
            if channels_in == channels_out
            else Conv(channels_in, channels_out, spatial=style.spatial, kernel_size=1)
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, C_in, ...) to (B, C_out, ...)."""
        branch = self.narrow(self.activation(self.widen(self.norm(self.depthwise(x, mask)))))
        scale = self.scale.reshape(-1, *([1] * (x.ndim - 2)))
        out: Tensor = self.shortcut(x) + self.dropout(branch * scale)
        return out


class TemporalConv(nn.Module):
    """Two dilated causal convolutions with a shortcut, for series: no step sees a later one.

    Source:
        Bai, Kolter & Koltun 2018, arXiv:1803.01271, Fig. 1(b), with the config's norm for its weight norm.
    """

    def __init__(self, channels_in: int, channels_out: int, style: ConvStyle) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            Conv(
                channels,
                channels_out,
                spatial=1,
                kernel_size=style.kernel_size,
                dilation=style.dilation,
                causal=True,
            )
            for channels in (channels_in, channels_out)
        )
        self.norms = nn.ModuleList(make_norm(style.norm, channels_out, spatial=1) for _ in self.convs)
        self.activations = nn.ModuleList(make_activation(style.activation) for _ in range(3))
        self.dropouts = nn.ModuleList(map_dropout(style) for _ in self.convs)
        self.shortcut = (
            nn.Identity()
            if channels_in == channels_out
            else Conv(channels_in, channels_out, spatial=1, kernel_size=1)
        )
        self.norm_first = style.norm_position == "before"

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, C_in, ...) to (B, C_out, ...)."""
        branch = x
        for conv, norm, act, drop in zip(self.convs, self.norms, self.activations[:2], self.dropouts, strict=True):
            branch = conv(branch, mask)
            branch = drop(act(norm(branch)) if self.norm_first else norm(act(branch)))
        out: Tensor = self.activations[2](self.shortcut(x) + branch)
        return out


def _projection(channels_in: int, channels_out: int, style: ConvStyle) -> nn.Module:
    if channels_in == channels_out:
        return nn.Identity()
    return ConvUnit(channels_in, channels_out, style, kernel_size=1, activate=False)


def _units(channels: tuple[int, ...], kernels: tuple[int, ...], style: ConvStyle) -> nn.ModuleList:
    pairs = zip(channels[:-1], channels[1:], kernels, strict=True)
    return nn.ModuleList(ConvUnit(i, o, style, kernel_size=k) for i, o, k in pairs)


def _chain(units: nn.ModuleList, x: Tensor, mask: Tensor | None) -> Tensor:
    for unit in units:
        x = unit(x, mask)
    return x


_SHAPES = "(B, C_in, ...) -> (B, C_out, ...)"

CONV_BLOCKS: Registry[nn.Module] = Registry(
    "block",
    [
        Entry(
            name="plain",
            factory=PlainConv,
            formula="act(norm(conv(x)))",
            range=_SHAPES,
            used_for="small images, shallow nets; the default",
            source="LeCun et al. 1998 (LeNet); Simonyan & Zisserman 2015, arXiv:1409.1556 (VGG)",
        ),
        Entry(
            name="residual",
            factory=ResidualConv,
            formula="act(x + norm(conv(act(norm(conv(x))))))",
            range=_SHAPES,
            used_for="deeper nets: the gradient passes by the shortcut",
            source="He et al. 2016, arXiv:1512.03385",
        ),
        Entry(
            name="dense",
            factory=DenseConv,
            formula="conv1([x, h1, h2, h3]), h_i = act(norm(conv([x, ..., h_(i-1)])))",
            range=_SHAPES,
            used_for="small sets: features are used again",
            source="Huang et al. 2017, arXiv:1608.06993",
        ),
        Entry(
            name="inception",
            factory=InceptionConv,
            formula="[conv1(x), conv(conv1(x)), conv(conv(conv1(x))), conv1(maxpool(x))]",
            range=_SHAPES,
            used_for="things of many sizes in one image",
            source="Szegedy et al. 2015, arXiv:1409.4842",
        ),
        Entry(
            name="inverted",
            factory=InvertedConv,
            formula="x + project(squeeze_excite(depthwise(expand(x))))",
            range=_SHAPES,
            used_for="few weights and operations (EfficientNet kind)",
            source="Tan & Le 2019, arXiv:1905.11946",
        ),
        Entry(
            name="convnext",
            factory=ConvNeXtConv,
            formula="x + scale * conv1(act(conv1(norm(depthwise(x)))))",
            range=_SHAPES,
            used_for="larger images; wants kernel_size 7, norm layer, activation gelu",
            source="Liu et al. 2022, arXiv:2201.03545",
        ),
        Entry(
            name="temporal",
            factory=TemporalConv,
            formula="act(x + drop(act(norm(causal(drop(act(norm(causal(x))))))))), dilation 2^i in block i",
            range="(B, C_in, T) -> (B, C_out, T)",
            used_for="series: sees 1 + 2 (k - 1) (2^n - 1) steps back in n blocks",
            source="Bai, Kolter & Koltun 2018, arXiv:1803.01271",
        ),
    ],
    title="Convolutional blocks",
    about="plain suits small images and shallow nets. The others pay off with depth: shortcuts carry the "
    "gradient, dense and inception blocks reuse and mix features, inverted and convnext ones save "
    "weights. All keep the size; a stage halves it at its end.",
)
