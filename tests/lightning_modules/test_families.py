import json
from dataclasses import FrozenInstanceError, fields

import pytest

from lightning_modules.errors import ConfigError
from lightning_modules.families import FAMILIES, get_family, split_settings
from lightning_modules.recipe import Recipe

CONFIGS = [Recipe, *(family.config for family in FAMILIES.values())]


def test_flat_settings_are_split_by_the_names_of_the_fields():
    config, recipe = split_settings("mlp", {"width": 32, "lr": 0.01, "dropout": 0.2, "optimizer": "sgd"})
    assert (config.width, config.dropout, recipe.lr, recipe.optimizer) == (32, 0.2, 0.01, "sgd")
    assert config == get_family("mlp").config(width=32, dropout=0.2)


def test_a_familys_own_recipe_defaults_stand_until_they_are_set():
    assert split_settings("rnn", {})[1].clip_norm == 1.0
    assert split_settings("rnn", {"clip_norm": 0.0})[1].clip_norm == 0.0
    assert split_settings("mlp", {})[1].clip_norm == 0.0


def test_a_family_itself_may_be_given_in_the_place_of_its_name():
    assert split_settings(FAMILIES["cnn"], {"width": 8})[0].width == 8


@pytest.mark.parametrize("name", FAMILIES)
def test_no_field_of_a_family_has_the_name_of_a_recipes_field(name):
    assert not set(FAMILIES[name].config.field_names()) & set(Recipe.field_names())


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("mlp", {"widht": 8}, "widht: a setting of mlp must be one of .* did you mean 'width'"),
        ("cnn", {"learning": 8}, "learning: a setting of cnn must be one of"),
        ("rnn", {"weight_decy": 0}, "did you mean 'weight_decay'"),
        ("nlp", {}, "family: must be one of mlp, cnn, rnn, got 'nlp': did you mean 'mlp'"),
        ("mlp", {"lr": 0}, r"lr: 0\.0 < lr <= 10\.0 must hold, got 0 per step: raise it"),
        ("mlp", {"lr": "fast"}, "lr: must be a finite number, got 'fast'"),
        ("mlp", {"optimizer": "adamW"}, "optimizer: .* did you mean 'adamw'"),
    ],
)
def test_settings_that_break_a_rule_are_refused(family, settings, message):
    with pytest.raises(ConfigError, match=message):
        split_settings(family, settings)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_survives_json(kind):
    assert kind.from_dict(json.loads(json.dumps(kind().to_dict()))) == kind()


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_is_frozen_and_every_field_says_its_rule_and_why(kind):
    with pytest.raises(FrozenInstanceError):
        setattr(kind(), kind.field_names()[0], 1)
    for spec in fields(kind):
        assert spec.metadata["type"] in ("number", "integer", "choice", "choice or weights", "flag")
        assert spec.metadata["why"]


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_refuses_a_setting_that_is_no_field(kind):
    with pytest.raises(ConfigError, match="nonsense: a setting must be one of"):
        kind.from_dict({"nonsense": 1})
