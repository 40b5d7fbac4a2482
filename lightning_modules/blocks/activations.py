"""Activations by name. Every factory takes no argument; `softmax` runs over axis 1, the features or channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_modules.registry import Entry, Registry


class Swish(nn.Module):
    """SiLU with a slope, `x * sigmoid(beta * x)`.

    Args:
        beta: Slope; 1 is SiLU, and a large one comes near to ReLU.
        learnable: Learn the slope, one for the whole layer.

    Source:
        Ramachandran et al. 2017, arXiv:1710.05941, sec. 4.
    """

    beta: Tensor

    def __init__(self, *, beta: float = 1.0, learnable: bool = True) -> None:
        super().__init__()
        if learnable:
            self.beta = nn.Parameter(torch.tensor([beta]))  # one axis: weight decay spares vectors
        else:
            self.register_buffer("beta", torch.tensor([beta]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to each value."""
        return x * torch.sigmoid(self.beta * x)


ACTIVATIONS: Registry[nn.Module] = Registry(
    "activation",
    [
        Entry(
            name="relu",
            factory=nn.ReLU,
            formula="max(0, x)",
            range="[0, inf)",
            used_for="the default of hidden layers",
            source="Nair & Hinton 2010, ICML",
        ),
        Entry(
            name="leaky_relu",
            factory=lambda *, negative_slope=0.01: nn.LeakyReLU(negative_slope),
            formula="x if x > 0 else 0.01 x",
            range="(-inf, inf)",
            used_for="hidden layers with many dead units",
            source="Maas et al. 2013, ICML workshop",
        ),
        Entry(
            name="prelu",
            factory=nn.PReLU,
            formula="x if x > 0 else a x, a learned from 0.25",
            range="(-inf, inf)",
            used_for="hidden layers of large sets",
            source="He et al. 2015, arXiv:1502.01852",
        ),
        Entry(
            name="rrelu",
            factory=nn.RReLU,
            formula="x if x > 0 else a x, a ~ U(1/8, 1/3) in training, its mean 11/48 at inference",
            range="(-inf, inf)",
            used_for="small sets: the random slope regularizes",
            source="Xu et al. 2015, arXiv:1505.00853",
        ),
        Entry(
            name="elu",
            factory=lambda *, alpha=1.0: nn.ELU(alpha),
            formula="x if x > 0 else alpha (exp(x) - 1)",
            range="(-alpha, inf)",
            used_for="hidden layers without a norm",
            source="Clevert et al. 2016, arXiv:1511.07289",
        ),
        Entry(
            name="selu",
            factory=nn.SELU,
            formula="1.0507 (x if x > 0 else 1.6733 (exp(x) - 1))",
            range="(-1.7581, inf)",
            used_for="deep plain stacks without a norm, with lecun weights",
            source="Klambauer et al. 2017, arXiv:1706.02515",
        ),
        Entry(
            name="gelu",
            factory=nn.GELU,
            formula="x Phi(x), Phi the normal distribution's",
            range="[-0.17, inf)",
            used_for="ConvNeXt and transformer kinds",
            source="Hendrycks & Gimpel 2016, arXiv:1606.08415",
        ),
        Entry(
            name="gelu_tanh",
            factory=lambda: nn.GELU(approximate="tanh"),
            formula="x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2",
            range="[-0.17, inf)",
            used_for="gelu where erf is slow",
            source="Hendrycks & Gimpel 2016, arXiv:1606.08415",
        ),
        Entry(
            name="silu",
            factory=nn.SiLU,
            formula="x sigmoid(x)",
            range="[-0.278, inf)",
            used_for="inverted bottlenecks, deep nets",
            source="Elfwing et al. 2018, arXiv:1702.03118",
        ),
        Entry(
            name="swish",
            factory=Swish,
            formula="x sigmoid(beta x), beta learned from 1",
            range="[-0.278 / beta, inf)",
            used_for="as silu, with a slope of its own per layer",
            source="Ramachandran et al. 2017, arXiv:1710.05941",
        ),
        Entry(
            name="mish",
            factory=nn.Mish,
            formula="x tanh(log(1 + exp(x)))",
            range="[-0.309, inf)",
            used_for="hidden layers of convolutional nets",
            source="Misra 2020, arXiv:1908.08681",
        ),
        Entry(
            name="tanh",
            factory=nn.Tanh,
            formula="(exp(x) - exp(-x)) / (exp(x) + exp(-x)) = 2 sigmoid(2x) - 1",
            range="(-1, 1)",
            used_for="recurrent cells, shallow nets",
            source="LeCun et al. 1998, Efficient BackProp",
        ),
        Entry(
            name="sigmoid",
            factory=nn.Sigmoid,
            formula="1 / (1 + exp(-x))",
            range="(0, 1)",
            used_for="gates and outputs",
            source="Rumelhart et al. 1986",
        ),
        Entry(
            name="softmax",
            factory=lambda: nn.Softmax(dim=1),
            formula="exp(x_i) / sum_j exp(x_j) over axis 1",
            range="(0, 1), sums to 1",
            used_for="outputs and attention; the losses apply it to the logits themselves",
            source="Bridle 1990",
        ),
    ],
    title="Activations",
    about="relu is the safe start, gelu and silu cost more and often win a little. sigmoid, tanh and softmax "
    "saturate: the slope of sigmoid is at most 0.25, so ten layers pass at most 0.25^10, about 9.5e-7, of "
    "the gradient. They belong to gates and outputs, and a stack of more than two layers of them is "
    "warned about.",
)

# The largest slope of each: what one layer passes back at best.
_LARGEST_SLOPE = {"sigmoid": 0.25, "softmax": 0.25}
_SATURATING = frozenset({"sigmoid", "softmax", "tanh"})
_SHALLOW = 2  # layers


def make_activation(name: str, **options: float) -> nn.Module:
    """Make an activation.

    Args:
        name: A name of `ACTIVATIONS`.
        options: `alpha` of elu, `negative_slope` of leaky_relu, `beta` and `learnable` of swish.

    Raises:
        ConfigError: No activation has this name.
    """
    return ACTIVATIONS[name].factory(**options)


def saturation(name: str, num_layers: int) -> str | None:
    """Say what a stack of more than two layers loses with sigmoid, tanh or softmax; None where it loses nothing.

    The slope of sigmoid is at most 0.25, so ten layers pass at most 0.25^10, about 9.5e-7, of the gradient; tanh
    has slope 1 only at 0.
    """
    if name not in _SATURATING or num_layers <= _SHALLOW:
        return None
    slope = _LARGEST_SLOPE.get(name)
    most = f"at most {slope}^{num_layers} = {slope**num_layers:.1e}" if slope else "ever less"
    return (
        f"{name} in {num_layers} hidden layers passes {most} of the gradient to the first: take relu or gelu, or "
        "fewer layers"
    )
