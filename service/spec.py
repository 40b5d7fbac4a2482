"""The spec: what a person submits, validated at the edge and immutable after it.

`service.documents.load_spec(path)` reads YAML or JSON; `parse_spec(mapping)` there takes the same from Python.
Every rule that needs only the document is checked here; rules that need the data or the family are checked
when the plan is made (`service.catalog`, `service.search.plan`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from search_spaces import DEFAULT_ORDER
from service.data_sections import DataSection, Section, check_import_path, pick_data

Strategy = Literal["ladder", "joint", "random"]
Mode = Literal["min", "max"]
ExportFormat = Literal["checkpoint", "safetensors"]
Primitive = bool | int | float | str | None

_METRICS_UP = frozenset({"val_accuracy", "val_macro_f1", "val_auroc", "val_r2"})
_METRICS_DOWN = frozenset({"val_loss", "val_rmse", "val_mae"})
_DURATION_RULE = "a duration is a number of seconds or a text such as 90s, 30m, 1h30m"
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?\s*(?:(\d+(?:\.\d+)?)m)?\s*(?:(\d+(?:\.\d+)?)s)?")


def known_mode(metric: str) -> Mode | None:
    """Say which way a metric of the built-in families improves; None for any other name."""
    if metric in _METRICS_UP:
        return "max"
    return "min" if metric in _METRICS_DOWN else None


def parse_duration(value: object) -> float:
    """Turn seconds (a number) or a text such as `90s`, `30m`, `1h30m` into seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{_DURATION_RULE}, got {value!r}: change it")
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if not match or not any(match.groups()):
            raise ValueError(f"{_DURATION_RULE}, got {value!r}: change it")
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        value = hours * 3600 + minutes * 60 + seconds
    return float(value)


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0)]


class ModuleFamily(Section):
    """A person's own LightningModule, by import path; hyperparameters are its constructor's arguments."""

    module: str = Field(description="import path, such as my_package.models:MyModule")

    @field_validator("module")
    @classmethod
    def _is_path(cls, value: str) -> str:
        return check_import_path(value)


class Objective(Section):
    """The metric that decides. Without it: val_accuracy, or val_rmse for regression."""

    metric: str = Field(
        "auto", description="by the name under which it is logged; auto is val_accuracy, for regression val_rmse"
    )
    mode: Mode | None = Field(
        None, description="follows from a known metric and may not contradict it; needed for one of your own"
    )

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        known = known_mode(self.metric)
        if known and self.mode and self.mode != known:
            raise ValueError(
                f"{self.metric} is better when it is {'higher' if known == 'max' else 'lower'}, got mode "
                f"{self.mode!r}: write mode: {known}, or leave mode out"
            )
        return self


class Rungs(Section):
    """Epochs at which a round is compared: min_epochs, times reduction_factor, ..., the last epoch."""

    min_epochs: int | Literal["auto"] = Field(
        "auto", description="the first rung; auto: a twelfth of a trial, for earlier values mislead"
    )
    reduction_factor: int = Field(3, ge=2, description="one in this many goes on from a rung, rounded up")

    @field_validator("min_epochs")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"min_epochs is at least 1 or auto, got {value}")
        return value


class Search(Section):
    """How candidates are found."""

    strategy: Strategy = Field(
        "ladder", description="in the documented order (ladder), all at once (joint), or drawn at random (random)"
    )
    order: tuple[str, ...] = Field(
        DEFAULT_ORDER, description="highest impact first, each once; parameters that it leaves out come after it"
    )
    space: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="overrides of the family's space, by parameter"
    )
    prior: Literal["none", "history"] = Field(
        "none",
        description="history: the ladder starts from what won earlier jobs of this family in the same store",
    )
    rungs: Rungs = Field(Rungs(), description="epochs at which a round is compared")
    candidates: int | Literal["auto"] = Field(
        "auto",
        description="trials that a round starts with, fewer where the budget holds no more; auto: 4 of the "
        "ladder's small steps, else 9",
    )

    lr_range_test: bool = Field(
        False,
        description="before the search: train a few hundred steps with a growing learning rate, and let the "
        "ladder's first stage search where the loss falls and does not blow up. Off by default: the stage covers "
        "the whole range anyway, the test pays where trials are long or the range is a guess",
    )

    @field_validator("candidates")
    @classmethod
    def _at_least_two(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 2:
            raise ValueError(f"candidates are at least 2 or auto, got {value}")
        return value

    @model_validator(mode="after")
    def _prior_is_the_ladders(self) -> Self:
        if self.prior == "history" and self.strategy != "ladder":
            raise ValueError(
                f"prior: history is for the ladder, got strategy {self.strategy!r}: write strategy: ladder or "
                "leave prior out"
            )
        return self

    @model_validator(mode="after")
    def _range_test_is_the_ladders(self) -> Self:
        if self.lr_range_test and self.strategy != "ladder":
            raise ValueError(
                f"lr_range_test: true is for the ladder, got strategy {self.strategy!r}: write strategy: ladder "
                "or leave lr_range_test out"
            )
        return self

    @field_validator("order")
    @classmethod
    def _no_repeats(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted(name for name, count in Counter(value).items() if count > 1)
        if repeated:
            raise ValueError(f"each parameter stands once in the order, repeated: {', '.join(repeated)}")
        return value


class Budget(Section):
    """What a job may spend. Epochs count for all trials together."""

    epochs: int = Field(300, ge=1, description="of all trials together; at least one round of two candidates")
    max_epochs_per_trial: int = Field(
        20, ge=1, description="length of a whole trial: the last rung, and what schedules span"
    )
    wall_clock: Duration | None = Field(
        None, description="ends the job at the end of a leg; counts over interruptions; no limit by default"
    )


class EarlyStopping(Section):
    """Patience inside a trial: epochs without an improvement of more than min_delta."""

    patience: int | None = Field(5, ge=1, description="epochs; null lets every trial reach its rung")
    min_delta: float = Field(0.0, ge=0, description="in the metric's unit; a smaller gain is noise")


class Checks(Section):
    """What is looked at beside the objective."""

    overfit: bool = Field(
        True,
        description="before the search: can the default configuration learn a handful of rows by heart? A job "
        "whose network cannot fails at once and says what looks broken",
    )
    health: bool = Field(
        True,
        description="at the first step of an epoch, of short epochs in every second: gradient norms, activations "
        "and dead units of each layer, logged as health/...; "
        "what is bad is named with its trial and in the result",
    )


def _bits(value: object) -> object:
    """Take 32 and 64 as YAML reads them, and as a text."""
    return str(value) if value in (32, 64) and not isinstance(value, bool) else value


class Resources(Section):
    """What one slot gets. torch's threads follow from cpu, never from the machine."""

    cpu: int = Field(1, ge=1, description="cores; results depend on their number in the last digits")
    gpu: float = Field(0, ge=0, description="a share of one (0.25: four slots share it) or a whole number")
    cohort_size: int | Literal["auto"] = Field(
        "auto",
        description="trials of one shape that are trained as one network, at most; auto is 8, or 64 on a GPU",
    )
    precision: Annotated[Literal["32", "bf16", "64"], BeforeValidator(_bits)] = Field(
        "32", description="bits of a float; bf16 is mixed with 32 and needs hardware that has it"
    )

    @field_validator("gpu")
    @classmethod
    def _whole_or_share(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"gpu is a share of one (0 to 1) or a whole number, got {value}")
        return value

    @field_validator("cohort_size")
    @classmethod
    def _positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"cohort_size is at least 1 or auto, got {value}")
        return value


class Tracking(Section):
    """Where the job shows in MLflow."""

    experiment: str | None = Field(None, description="default: the job's name")


class Export(Section):
    """What the bundle holds beside its description."""

    formats: tuple[ExportFormat, ...] = Field(
        ("checkpoint",), description="the checkpoint is always written; safetensors adds weights without code"
    )


def _pick_family(value: object) -> object:
    if isinstance(value, Mapping) and "module" in value:
        return ModuleFamily.model_validate_json(json.dumps(value, default=str), strict=True)
    if isinstance(value, ModuleFamily) or value in ("mlp", "cnn", "rnn"):
        return value
    raise ValueError(
        f"a family is mlp, cnn, rnn, or {{module: my_package.models:MyModule}}, got {value!r}: choose one"
    )


class Spec(Section):
    """A tuning job as a person submits it."""

    name: str = Field(
        "job", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="for people, and part of folder names"
    )
    family: Annotated[Literal["mlp", "cnn", "rnn"] | ModuleFamily, BeforeValidator(_pick_family)] = Field(
        description="what is trained: mlp takes tables and images, cnn images and series, "
        "rnn texts and series; or a module of your own"
    )
    data: Annotated[DataSection, BeforeValidator(pick_data)] = Field(
        description="what it is trained on: the key of a kind, such as name or csv, and the keys that go with it"
    )
    model: dict[str, Primitive | dict[str, Primitive]] = Field(
        default_factory=dict, description="settings of the family that are fixed, not searched"
    )
    objective: Objective = Field(Objective(), description="what better means")
    search: Search = Field(Search(), description="how candidates are found and compared")
    budget: Budget = Field(Budget(), description="what the job may spend")
    early_stopping: EarlyStopping = Field(EarlyStopping(), description="when a trial ends by itself")
    checks: Checks = Field(Checks(), description="what is looked at beside the objective")
    resources: Resources = Field(Resources(), description="what one slot gets")
    seed: int = Field(0, ge=0, lt=2**63, description="everything random in search and trials follows from it")
    tracking: Tracking = Field(Tracking(), description="where the job shows in MLflow")
    export: Export = Field(Export(), description="what the bundle holds")

    @model_validator(mode="after")
    def _budget_holds_a_round(self) -> Self:
        per_trial, rungs = self.budget.max_epochs_per_trial, self.search.rungs
        if isinstance(rungs.min_epochs, int) and rungs.min_epochs > per_trial:
            raise ValueError(
                f"search.rungs.min_epochs <= budget.max_epochs_per_trial must hold, got {rungs.min_epochs} > "
                f"{per_trial}: lower the first or raise the second"
            )
        return self

    @property
    def experiment_name(self) -> str:
        """In MLflow: the job's own name, unless the spec gives another."""
        return self.tracking.experiment or self.name

    @property
    def family_name(self) -> str:
        """`mlp`, `cnn`, `rnn`, or the import path of a person's own module."""
        return self.family if isinstance(self.family, str) else self.family.module

    def fingerprint(self) -> str:
        """Hash everything that the job's result follows from (SHA-256, hex)."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
