"""Optimizers by name, with parameter groups that may spare biases and norms from weight decay."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from lightning_modules.registry import Entry, Registry

if TYPE_CHECKING:
    from lightning_modules.recipe import Recipe

_L2 = "g is the gradient plus weight_decay * w"

OPTIMIZERS: Registry[Optimizer] = Registry(
    "optimizer",
    [
        Entry(
            name="sgd",
            factory=SGD,
            formula=f"w -= lr g; {_L2}",
            range="lr about 0.01 to 1",
            used_for="baselines; large sets with a tuned schedule",
            source="Robbins & Monro 1951, doi:10.1214/aoms/1177729586",
        ),
        Entry(
            name="momentum",
            factory=SGD,
            formula=f"v = momentum v + g; w -= lr v; {_L2}",
            range="lr about 0.001 to 0.3",
            used_for="convolutional nets with a long schedule",
            source="Polyak 1964, doi:10.1016/0041-5553(64)90137-5",
        ),
        Entry(
            name="nesterov",
            factory=SGD,
            formula=f"v = momentum v + g; w -= lr (g + momentum v); {_L2}",
            range="lr about 0.001 to 0.3",
            used_for="as momentum, with a look ahead",
            source="Sutskever et al. 2013, PMLR 28(3):1139",
        ),
        Entry(
            name="adagrad",
            factory=Adagrad,
            formula=f"s += g^2; w -= lr g / (sqrt(s) + 1e-10); {_L2}",
            range="lr about 0.01 to 0.1",
            used_for="sparse features and embeddings",
            source="Duchi, Hazan & Singer 2011, JMLR 12:2121",
        ),
        Entry(
            name="rmsprop",
            factory=RMSprop,
            formula=f"s = 0.99 s + 0.01 g^2; w -= lr g / (sqrt(s) + 1e-8); {_L2}",
            range="lr about 0.0001 to 0.01",
            used_for="recurrent nets",
            source="Tieleman & Hinton 2012, Coursera lecture 6.5",
        ),
        Entry(
            name="adam",
            factory=Adam,
            formula=f"w -= lr m / (sqrt(v) + 1e-8), m and v bias-corrected averages of g and g^2; {_L2}",
            range="lr about 0.0001 to 0.01",
            used_for="a safe start for every family",
            source="Kingma & Ba 2015, arXiv:1412.6980",
        ),
        Entry(
            name="adamw",
            factory=AdamW,
            formula="w -= lr weight_decay w; then adam's step on the bare gradient",
            range="lr about 0.0001 to 0.01",
            used_for="the default: decay and adaptive steps do not mix",
            source="Loshchilov & Hutter 2019, arXiv:1711.05101",
        ),
    ],
    title="Optimizers",
    about="Each has its own range of learning rates, so each is compared at its own. Decay spares biases and "
    "norms unless `decay_norm_and_bias` is set, and only adamw's is apart from the gradient.",
)


def make_optimizer(module: nn.Module, recipe: Recipe, *, loaded: Collection[str] = ()) -> Optimizer:
    """Make the optimizer that a recipe names over a module's trainable parameters.

    Parameters that are `loaded` have groups of their own, behind the others', with `recipe.loaded_lr_factor` times
    the learning rate; schedules scale each group's own.

    On the CPU the fused kernels are taken where torch has them (measured on a small MLP with one thread:
    adamw 75 against 308 microseconds a step, adagrad 62 against 166), else the multi-tensor ones.
    """
    named = list(module.named_parameters())
    groups = parameter_groups([pair for pair in named if pair[0] not in loaded], recipe)
    for group in parameter_groups([pair for pair in named if pair[0] in loaded], recipe):
        groups.append({**group, "lr": recipe.lr * recipe.loaded_lr_factor})
    return OPTIMIZERS[recipe.optimizer].factory(
        groups, lr=recipe.lr, **_options(recipe), **_variant(module, recipe)
    )


def parameter_groups(named: Iterable[tuple[str, nn.Parameter]], recipe: Recipe) -> list[dict[str, Any]]:
    """Split parameters into those that decay and those that do not.

    Biases, the gains of norms and every other vector (learned slopes, layer scales) are spared unless
    `decay_norm_and_bias`. The split follows from the number of axes alone, so frozen or renamed layers do not
    change it.

    Returns:
        At most two groups, neither empty, in the order of the parameters.
    """
    trained = [parameter for _, parameter in named if parameter.requires_grad]
    spared = [] if recipe.decay_norm_and_bias else [p for p in trained if p.ndim < 2]
    decayed = trained if recipe.decay_norm_and_bias else [p for p in trained if p.ndim >= 2]
    groups = ((decayed, recipe.weight_decay), (spared, 0.0))
    return [{"params": params, "weight_decay": decay} for params, decay in groups if params]


def _options(recipe: Recipe) -> dict[str, Any]:
    if recipe.optimizer in ("momentum", "nesterov"):
        return {"momentum": recipe.momentum, "nesterov": recipe.optimizer == "nesterov"}
    return {}


def _variant(module: nn.Module, recipe: Recipe) -> dict[str, bool]:
    """Choose the kernel: on accelerators torch's own choice, which is good there already."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    if device.type != "cpu":
        return {}
    return {"foreach": True} if recipe.optimizer == "rmsprop" else {"fused": True}
