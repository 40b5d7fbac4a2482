"""The page docs/building_blocks.md: every registry of `lightning_modules`, found by looking for them."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning_modules
from lightning_modules.config import Config
from lightning_modules.families import FAMILIES
from lightning_modules.recipe import Recipe
from lightning_modules.registry import Registry
from search_spaces import SPACES, Choice
from service.spec import Spec

HEAD = """\
# Building blocks

What the families are made of and trained with, by the names that a spec takes, such as
`model: {activation: gelu}`. [search_spaces.md](search_spaces.md) says which are searched and in which range,
[spec.md](spec.md) lists all settings. Each block is tested against its formula or an independent reference.

Symbols: x enters, y is the target, z the network's output; B rows, C channels, F features, T steps, H x W pixels,
K classes, N rows of the training split; L is a row's length without padding; s is the sigmoid; a star multiplies
value by value. "Searched in" names the families whose search space has the block; the others take it in `model`.
"""
COLUMNS = ("name", "formula", "range", "used for", "where", "source")
# Whoever chooses goes from the inside of a network to its training; registries of other modules come last.
MODULES = (
    "blocks.activations",
    "blocks.normalization",
    "blocks.dropout",
    "blocks.initialization",
    "blocks.dense",
    "blocks.conv_blocks",
    "blocks.conv_pooling",
    "blocks.recurrent",
    "blocks.pooling",
    "losses",
    "optimizers",
    "schedules",
    "metrics",
)
AUTO = "auto"  # chooses among a registry's names


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the index: what a network library is asked for, and where it is here.

    `blocks` are registries by field, with the names that belong to the line (none: all of them); `settings` are
    fields of the spec. A line of which something is not there is left out.
    """

    id: str
    what: str
    where: str = ""
    blocks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    settings: tuple[str, ...] = ()


INDEX = (
    Row(id="A1", what="saturating activations", blocks=(("activation", ("sigmoid", "tanh", "softmax")),)),
    Row(
        id="A2",
        what="the relu kind",
        blocks=(("activation", ("relu", "leaky_relu", "prelu", "rrelu", "elu", "selu")),),
    ),
    Row(
        id="A3",
        what="smooth activations",
        blocks=(("activation", ("gelu", "gelu_tanh", "silu", "swish", "mish")),),
    ),
    Row(id="A4", what="gated feed-forward", blocks=(("block", ("swiglu", "geglu", "siglu")),)),
    Row(id="N1", what="batch norm", blocks=(("norm", ("batch",)),)),
    Row(id="N2", what="norms that need no batch", blocks=(("norm", ("layer", "group", "instance", "rms")),)),
    Row(id="D1", what="dropout", blocks=(("dropout", ()),)),
    Row(
        id="D2",
        what="Monte-Carlo dropout: predictions with uncertainty",
        where="a bundle's `predict_with_uncertainty` ([README](../README.md))",
    ),
    Row(id="I1", what="initialization", blocks=(("init", ()),)),
    Row(id="L1", what="losses, smoothing, class weights", blocks=(("loss", ()), ("class_weights", ()))),
    Row(id="O1", what="optimizers", blocks=(("optimizer", ()),)),
    Row(id="S1", what="schedules", blocks=(("schedule", ()),)),
    Row(id="M1", what="MLP family", where="[settings](spec.md#mlp), [space](search_spaces.md#mlp)"),
    Row(
        id="C1",
        what="CNN family",
        where="[settings](spec.md#cnn), [space](search_spaces.md#cnn)",
        blocks=(
            ("block", ("residual", "dense", "inception", "inverted", "convnext")),
            ("pooling", ("max", "avg", "stride")),
            ("head_pooling", ()),
        ),
    ),
    Row(id="C2", what="series: 1-d convolutions, temporal stack", blocks=(("block", ("temporal",)),)),
    Row(
        id="R1",
        what="RNN family",
        where="[settings](spec.md#rnn), [space](search_spaces.md#rnn)",
        blocks=(("cell", ()), ("pooling", ("last", "mean", "max", "attention"))),
    ),
    Row(
        id="R2",
        what="vocabulary and embeddings",
        where="[`data.min_frequency`, `data.max_vocabulary`](spec.md#labelled-texts), `embedding_dim`",
    ),
    Row(
        id="R3", what="gradient clipping by norm", where="[`clip_norm`](spec.md#all-families-how-they-are-trained)"
    ),
    Row(
        id="T1",
        what="starting from an earlier bundle: new head, freezing, smaller learning rate",
        where="[`model.start_from`](spec.md#model-settings-of-a-family), `freeze_epochs`, `loaded_lr_factor`",
    ),
    Row(id="G1", what="augmentation of training batches", blocks=(("augmentation", ()),)),
    Row(
        id="E1",
        what="early stopping, best epoch's weights",
        settings=("early_stopping.patience", "early_stopping.min_delta"),
    ),
    Row(id="E2", what="metrics", blocks=(("metric", ()),)),
    Row(id="P1", what="learning a handful of rows by heart, before a search", settings=("checks.overfit",)),
    Row(id="P2", what="learning-rate range test", settings=("search.lr_range_test",)),
    Row(id="P3", what="learning rate scaled with the batch size", where="[how the search works](search.md)"),
    Row(id="P4", what="health: gradients, dead units, activations of each layer", settings=("checks.health",)),
)


def registries() -> list[Registry[Any]]:
    """Find every registry of `lightning_modules`, in the order of the page."""
    prefix = f"{lightning_modules.__name__}."
    known = [prefix + name for name in MODULES]
    found = [module.name for module in pkgutil.walk_packages(lightning_modules.__path__, prefix)]
    values = (
        value
        for name in (*known, *(name for name in found if name not in known))
        for value in vars(importlib.import_module(name)).values()
    )
    return list({id(value): value for value in values if isinstance(value, Registry)}.values())


def sections() -> dict[str, list[Registry[Any]]]:
    """Put registries of one title into one section, such as the augmentations of each kind of data."""
    titled: dict[str, list[Registry[Any]]] = {}
    for registry in registries():
        titled.setdefault(registry.title, []).append(registry)
    return titled


def where(registry: Registry[Any], name: str) -> str:
    """Say which setting of which families takes a name."""
    if registry[name].where:
        return registry[name].where
    taking = [family for family, config in _configs() if name in _options(config, registry)]
    setting = registry.field
    if not taking:  # a block that is switched on by a setting of its own name
        taking = [family for family, config in _configs() if name in config.field_names()]
        setting = name if taking else setting
    searched = [family for family in taking if _is_searched(family, setting, name)]
    others = [family for family in taking if family not in searched]
    parts = [f"searched in {', '.join(searched)}"] if searched else []
    if others:
        every = len(others) == len(FAMILIES)
        parts.append("all families" if every else f"{'also ' if searched else ''}{', '.join(others)}")
    return f"`{setting}`: {'; '.join(parts)}" if parts else f"`{setting}`"


def _configs() -> Iterator[tuple[str, type[Config]]]:
    """List each family with its config, and with the recipe, which all share."""
    for name, family in FAMILIES.items():
        yield name, family.config
        yield name, Recipe


def _options(config: type[Config], registry: Registry[Any]) -> set[str]:
    """Give the names that a config takes from a registry.

    Two registries may stand for settings of one name, such as `block`: the names tell them apart.
    """
    for field in dataclasses.fields(config):
        options = set(field.metadata.get("options", ())) - {AUTO}
        if field.name == registry.field and options <= set(registry):
            return options
    return set()


def _is_searched(family: str, field: str, name: str) -> bool:
    parameters = [parameter for parameter in SPACES[family] if parameter.name == field]
    return any(isinstance(parameter, Choice) and name in parameter.choices for parameter in parameters)


def block_rows(registry: Registry[Any]) -> Iterator[list[str]]:
    """Describe the entries of a registry, cell by cell."""
    for entry in registry.values():
        formula = f"`{entry.formula.replace('|', chr(92) + '|')}`"
        yield [f"`{entry.name}`", formula, entry.range, entry.used_for, where(registry, entry.name), entry.source]


def index_rows() -> Iterator[list[str]]:
    """Describe the lines of the index, with links to the sections."""
    for row in INDEX:
        places = [_place(find(field, names), names) for field, names in row.blocks]
        places += [f"[`{name}`](spec.md#all-fields)" if _is_setting(name) else None for name in row.settings]
        if None not in places:
            yield [row.id, row.what, "; ".join(filter(None, (row.where, *places)))]


def _is_setting(path: str) -> bool:
    """Say whether the spec has a field of this dotted name."""
    section: Any = Spec
    for name in path.split("."):
        fields = getattr(section, "model_fields", {})
        if name not in fields:
            return False
        section = fields[name].annotation
    return True


def _place(registry: Registry[Any] | None, names: tuple[str, ...]) -> str | None:
    if registry is None:
        return None
    anchor = registry.title.lower().replace(" ", "-")
    listed = ", ".join(f"`{name}`" for name in names)
    return f"[{registry.title}](#{anchor}){': ' if names else ''}{listed}"


def find(field: str, names: tuple[str, ...]) -> Registry[Any] | None:
    """Find the registry for a setting that has these names."""
    return next((one for one in registries() if one.field == field and set(names) <= set(one)), None)
