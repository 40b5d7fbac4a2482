"""Parameters that every family has, each with the reason for its range."""

from __future__ import annotations

from search_spaces.parameters import Choice, Float


def learning_rate(*, default: float) -> Float:
    """Make the learning rate's range; adaptive optimizers want its lower half, plain SGD its upper."""
    return Float(
        name="lr",
        low=1e-4,
        high=0.1,
        log=True,
        default=default,
        why="below 1e-4 nothing is learnt in a short training, above 0.1 adaptive optimizers blow up; equal "
        "ratios matter, so the scale is logarithmic",
        source="Bengio 2012, arXiv:1206.5533, sec. 3.1.1 (1e-6 to 1, log); LCBench: 1e-4 to 1e-1",
    )


def dropout(*, default: float) -> Float:
    """Make the dropout rate's range."""
    return Float(
        name="dropout",
        low=0.0,
        high=0.6,
        default=default,
        why="0 is off; 0.5 is the most noise for a hidden unit, and more only starves small networks",
        source="Srivastava et al. 2014, JMLR 15, sec. 7.3 (good retention 0.4 to 0.8)",
    )


def batch_size(*, default: int) -> Choice:
    """Make the batch sizes."""
    return Choice(
        name="batch_size",
        choices=(16, 32, 64, 128, 256),
        ordered=True,
        default=default,
        why="powers of two; below 16 steps are noise and slow, above 256 small sets give too few steps",
        source="Masters & Luschi 2018, arXiv:1804.07612 (best results at 2 to 32, useful to 256)",
    )


def weight_decay(*, default: float) -> Float:
    """Make the weight decay's range."""
    return Float(
        name="weight_decay",
        low=1e-6,
        high=0.1,
        log=True,
        default=default,
        why="1e-6 is practically off; decoupled decay is useful up to 0.1; equal ratios matter",
        source="Loshchilov & Hutter 2019, arXiv:1711.05101, Fig. 2",
    )


def embedding_dim(*, choices: tuple[int, ...], default: int) -> Choice:
    """Make the embedding dimensions."""
    return Choice(
        name="embedding_dim",
        choices=choices,
        ordered=True,
        default=default,
        why="powers of two around the sizes in use for this kind of input; a small effect, so it comes late",
        source="Guo & Berkhahn 2016, arXiv:1604.06737 (columns); Mikolov et al. 2013, arXiv:1301.3781 (words)",
    )


def optimizer() -> Choice:
    """Make the optimizers."""
    return Choice(
        name="optimizer",
        choices=("adamw", "adam", "nesterov", "momentum", "rmsprop"),
        default="adamw",
        why="the kinds in common use; each is compared at its own learning rate",
        source="Schmidt, Schneider & Hennig 2021, arXiv:2007.01547 (no winner everywhere, Adam a safe start)",
    )


def activation(*, default: str) -> Choice:
    """Make the hidden activations; saturating ones are left out, for deep stacks of them pass no gradient."""
    return Choice(
        name="activation",
        choices=("relu", "gelu", "silu", "leaky_relu", "elu", "mish"),
        default=default,
        why="unsaturated functions of the relu kind; sigmoid and tanh lose the gradient (0.25^10 is 9.5e-7)",
        source="Ramachandran et al. 2017, arXiv:1710.05941; Hendrycks & Gimpel 2016, arXiv:1606.08415",
    )
