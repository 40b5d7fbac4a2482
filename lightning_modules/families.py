"""The built-in families of networks, and how a trial's flat settings become a config and a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from lightning_modules.cnn import CNNConfig
from lightning_modules.data.base import Kind
from lightning_modules.errors import ConfigError
from lightning_modules.mlp import MLPConfig
from lightning_modules.network import NetworkConfig
from lightning_modules.recipe import Recipe
from lightning_modules.registry import unknown_name
from lightning_modules.rnn import RNNConfig


@dataclass(frozen=True, kw_only=True)
class Family:
    """A named kind of network.

    `kinds` are the kinds of data that it reads; `recipe_defaults` are the recipe's fields that it starts from
    other values than `Recipe` does.
    """

    name: str
    config: type[NetworkConfig]
    kinds: tuple[Kind, ...]
    recipe_defaults: Mapping[str, Any]


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "mlp": Family(name="mlp", config=MLPConfig, kinds=MLPConfig.kinds, recipe_defaults=MappingProxyType({})),
        "cnn": Family(name="cnn", config=CNNConfig, kinds=CNNConfig.kinds, recipe_defaults=MappingProxyType({})),
        "rnn": Family(
            name="rnn",
            config=RNNConfig,
            kinds=RNNConfig.kinds,
            # Gradients through many steps can explode: Pascanu et al. 2013, arXiv:1211.5063, sec. 3.2.
            recipe_defaults=MappingProxyType({"clip_norm": 1.0}),
        ),
    }
)


def get_family(name: str) -> Family:
    """Return a built-in family.

    Raises:
        ConfigError: No family has this name; names the nearest one.
    """
    if name not in FAMILIES:
        raise ConfigError(unknown_name(name, FAMILIES), field="family")
    return FAMILIES[name]


def split_settings(family: str | Family, settings: Mapping[str, Any]) -> tuple[NetworkConfig, Recipe]:
    """Split one flat dict of hyperparameters into the network's config and the recipe, by the fields' names.

    Fields that are left out keep their defaults, those of the recipe with the family's own on top.

    Raises:
        ConfigError: A name is a field of neither (names the nearest one), or a value breaks its rule.
    """
    chosen = get_family(family) if isinstance(family, str) else family
    network_fields, recipe_fields = chosen.config.field_names(), Recipe.field_names()
    known = (*network_fields, *recipe_fields)
    for name in settings:
        if name not in known:
            raise ConfigError(f"a setting of {chosen.name} {unknown_name(name, known)}", field=str(name))
    config = chosen.config.from_dict({k: v for k, v in settings.items() if k in network_fields})
    given = {k: v for k, v in settings.items() if k in recipe_fields}
    return config, Recipe.from_dict({**chosen.recipe_defaults, **given})
