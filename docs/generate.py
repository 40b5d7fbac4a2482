"""Write pages of docs from the code that they describe, and performance.md from what benchmarks have measured.

python docs/generate.py            write them
python docs/generate.py --check    write nothing; exit with 1 if one of them is out of date
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import fill
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import api_page
import building_blocks
import performance_page
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lightning_modules.families import FAMILIES
from lightning_modules.recipe import Recipe
from search_spaces import PRIORITIES, SPACES, Parameter, SearchSpace, StageOutline, outline_stages
from service.catalog import DEFAULT_METRIC, METRICS
from service.data_sections import (
    IdxData,
    ImagesData,
    ModuleData,
    NamedData,
    NpzData,
    SeriesData,
    TableData,
    TextData,
)
from service.spec import ModuleFamily, Spec, known_mode

FOLDER = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py from the code: change it there. -->"
PERFORMANCE_NOTE = "<!-- Written by docs/generate.py from benchmarks/results: measure again to change it. -->"
DATA_SECTIONS: Mapping[str, type[BaseModel]] = {
    "Sets by name": NamedData,
    "CSV and Parquet files": TableData,
    "IDX image folders": IdxData,
    "Image files": ImagesData,
    "Labelled texts": TextData,
    "Series in a NumPy file": NpzData,
    "Series in a CSV file": SeriesData,
    "A LightningDataModule of your own": ModuleData,
}
_NAMES: Mapping[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    NoneType: "null",
    Any: "any value",
}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}

SPEC_HEAD = """\
# The spec

A spec is a YAML or JSON file. It is validated whole before anything runs; an error names the field, the rule, the
value and the remedy, and the exit code is 2. Unknown keys and keys that stand twice are errors. Types are strict:
`"12"` is a text.

- Paths are relative to the spec's folder. `${NAME}` in a path is an environment variable, which must be set;
  `tuneladder submit` fills it in before it sends the spec.
- A duration is a number of seconds, or a text such as `90s`, `30m` or `1h30m`.
- Two specs are the same job if they say the same after defaults are filled in, whatever the files look like.

The smallest spec:

```yaml
family: mlp
data: {name: digits}
```
"""
SPACES_HEAD = """\
# Search spaces

What may vary in each family, in which range, and why. `tuneladder spaces` shows the same on the command line,
`tuneladder plan SPEC` what a spec makes of it.

## The order of tuning

Hyperparameters with the highest impact are tuned first, one or two at a time, from the best trial so far. Where
two interact, the stage opens the second one again beside the first. What a family has beyond this list comes after
it; the last stage opens everything around the best trial. `search.order` in a spec gives another order.
"""
OPTIONAL_HEAD = """\
Optional: searched, after everything else, only where `search.space` names them.
"""
OVERRIDES = """\
## Augmentation

Augmentations change training batches at random, in ways that leave their labels right; validation, test and
bundles never see them. All are off by default. `model: {rotation: 10}` fixes one, `search.space: {rotation: {}}`
searches one in the range above. A stage for one comes after everything else: it acts against overfitting as
dropout and weight decay do, and costs time as well. What it draws follows from trial, epoch and batch.

## Overrides

`search.space` in a spec lays fields over a family's parameter: `low`, `high` and `log` for a range, `choices` and
`ordered` for a list, and `default`. A default that falls outside the new range moves to its nearest end, or to the
first choice. `model` fixes a parameter and takes it out of the search.

```yaml
model: {depth: 3}
search:
  space:
    lr: {low: 1e-4, high: 0.01}
    width: {choices: [64, 128, 256, 512]}
```

A module of your own starts from an empty space, so each of its parameters is given whole. The kind follows from
the fields: `choices` is a list, two whole bounds are whole numbers, other bounds are numbers (`type: float`, `int`
or `choice` says it outright). Without a `default`, a range starts in its middle and a list with its first choice.

```yaml
family: {module: "shop:SpendingNet"}
data: {module: "shop:SpendingData"}
objective: {metric: val_mae, mode: min}
search:
  space:
    lr: {low: 1e-4, high: 0.1, log: true, default: 0.002}
    width: {choices: [16, 32, 64], ordered: true}
    layers: {low: 1, high: 4}
```
"""

MODEL_TEXT = """\
What `model` fixes is not searched. A setting that is neither fixed nor [searched](search_spaces.md) keeps its
default here. One that is searched starts from the default of its search space: the same for a network's settings,
another learning rate.

`start_from: PATH` is not a setting of the network: the job's networks start from the weights of that earlier
bundle of the same family. They have its settings, dropout aside, which are therefore neither searched nor given
otherwise. The head is new where the classes differ; words that both vocabularies have keep their embedding.
What is loaded learns from epoch `freeze_epochs` on (counted from 0), with `loaded_lr_factor` times the learning
rate. Another bundle in the same place is refused when the job goes on.

```yaml
family: cnn
data: {idx: letters}
model: {start_from: digits-bundle, freeze_epochs: 1, loaded_lr_factor: 0.3}
```
"""
HEAD = ("field", "type", "default", "rule", "what, and why")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table in Markdown."""
    lines = [list(head), *([_cell(text) for text in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    """Escape what Markdown would take for a tag, emphasis or the next cell."""
    return text.replace("<", "&lt;").replace("*", "\\*").replace("|", "\\|") if "`" not in text else text


def type_text(kind: Any) -> str:
    """Say in words what a field holds."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        text = "duration" if arguments[0] is float else type_text(arguments[0])
    elif origin is Literal:
        text = " or ".join(
            f'`"{value}"`' if isinstance(value, str) and value.isdigit() else f"`{value}`" for value in arguments
        )
    elif origin in (Union, UnionType):
        text = " or ".join(type_text(part) for part in arguments)
    elif origin is tuple:
        text = f"list of {_plural(arguments[0])}"
    elif origin is dict:
        text = "mapping"
    else:
        text = "`{module: ...}`" if kind is ModuleFamily else _NAMES[kind]
    return text


def _plural(kind: Any) -> str:
    text = type_text(kind)
    return text if text.startswith("`") else f"{text}s"


def default_text(info: FieldInfo) -> str:
    """Write a field's default as it would stand in a spec."""
    default = info.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    return "" if isinstance(default, BaseModel) else value_text(default)


def value_text(value: object) -> str:
    """Write a value as JSON, as YAML reads it too."""
    if isinstance(value, tuple) and len(value) > 4:
        return "see below"
    is_plain_text = isinstance(value, str) and not value.isdigit()
    return f"`{value}`" if is_plain_text else f"`{json.dumps(value)}`"


def rule_text(info: FieldInfo) -> str:
    """Write the bounds of a field."""
    rules = [f"{_SIGNS[name]} {bound:g}" for name, bound in _bounds(info) if bound < 2**53]
    rules += [f"`{part.pattern}`" for part in info.metadata if getattr(part, "pattern", None)]
    return ", ".join(rules)


def _bounds(info: FieldInfo) -> Iterator[tuple[str, float]]:
    parts = list(info.metadata)
    for branch in (info.annotation, *get_args(info.annotation)):
        if get_origin(branch) is Annotated:  # Optional[Duration] keeps its rule in its branch
            parts += [p for extra in get_args(branch)[1:] for p in getattr(extra, "metadata", [])]
    for part in parts:
        for name in _SIGNS:
            bound = getattr(part, name, None)
            if isinstance(bound, int | float):
                yield name, bound


def section_rows(section: type[BaseModel], prefix: str = "") -> Iterator[list[str]]:
    """List a section's fields and those of the sections in it, by dotted name."""
    for name, info in section.model_fields.items():
        path = f"{prefix}{name}"
        nested = info.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from section_rows(nested, f"{path}.")
            continue
        # The section of `data` and own modules have tables of their own.
        kind = "section" if path == "data" else type_text(info.annotation)
        yield [f"`{path}`", kind, default_text(info), rule_text(info), info.description or ""]


def spec_page() -> str:
    """Write docs/spec.md."""
    parts = [NOTE, SPEC_HEAD, "## All fields\n", table(HEAD, section_rows(Spec))]
    order = ", ".join(f"`{name}`" for name in Spec.model_fields["search"].get_default().order)
    parts += [f"The default of `search.order`: {order}.\n", *_objective_text(), "## `data`\n", *_data_text()]
    parts += [
        "## `family`: a module of your own\n",
        f"{ModuleFamily.__doc__} See [own_modules.md](own_modules.md).\n",
    ]
    parts.append(table(HEAD, section_rows(ModuleFamily, "family.")))
    parts += ["## `model`: settings of a family\n", MODEL_TEXT]
    parts += ["### All families: how they are trained\n", _config_table(Recipe)]
    for name, family in FAMILIES.items():
        parts += [f"### {name}\n", _config_table(family.config)]
        if family.recipe_defaults:
            changed = ", ".join(f"`{key}` is {value_text(value)}" for key, value in family.recipe_defaults.items())
            parts.append(f"Of the settings of all families, {changed} by default here.\n")
    return "\n".join(parts)


def _objective_text() -> Iterator[str]:
    yield "## `objective`\n"
    rows = [
        [task, ", ".join(f"`{name}` ({known_mode(name)})" for name in names), f"`{DEFAULT_METRIC[task]}`"]
        for task, names in METRICS.items()
    ]
    yield table(("task", "metrics of the families (mode)", "auto"), rows)
    yield "A module of your own names any metric that it logs, with its mode unless it is one of these.\n"


def _data_text() -> Iterator[str]:
    splits = [row for row in section_rows(NamedData, "data.") if row[0] != "`data.name`"]
    yield "All kinds but a module of your own are split by seed and take these fields:\n"
    yield table(HEAD, splits)
    for title, section in DATA_SECTIONS.items():
        rows = [row for row in section_rows(section, "data.") if row not in splits]
        yield f"### {title}\n\n{inspect.cleandoc(section.__doc__ or '')}\n"
        yield table(HEAD, sorted(rows, key=lambda row: row[2] != "required"))


def _config_table(config: type[Any]) -> str:
    rows = []
    for field in dataclasses.fields(config):
        rule = field.metadata
        match rule["type"]:
            case "choice or weights":
                kind, bounds = "name, or weights by name", f"{', '.join(rule['options'])}; > 0"
            case "choice":
                kind, bounds = "name", ", ".join(rule["options"])
            case "flag":
                kind, bounds = "true or false", ""
            case kind_name:
                kind = "whole number" if kind_name == "integer" else "number"
                sign = ">" if rule.get("above_low") else ">="
                bounds = f"{sign} {rule['low']:g}, <= {rule['high']:g}{', odd' if rule.get('odd') else ''}"
        unit = f" ({rule['unit']})" if rule["unit"] else ""
        rows.append([f"`{field.name}`", kind + unit, value_text(field.default), bounds, rule["why"]])
    return table(("setting", "type", "default", "rule", "why"), rows)


def spaces_page() -> str:
    """Write docs/search_spaces.md."""
    rows = [
        [str(number), f"`{p.name}`", p.title, f"`{p.companion}`" if p.companion else "", p.why]
        for number, p in enumerate(PRIORITIES, start=1)
    ]
    parts = [NOTE, SPACES_HEAD, table(("", "parameter", "", "opened with", "why here"), rows)]
    for space in SPACES.values():
        parts += [f"## {space.name}\n", _space_table(space)]
        parts += [
            f"`{c.parameter}` matters only where `{c.when}` is {' or '.join(f'`{v}`' for v in c.values)}.\n"
            for c in space.conditions
        ]
        if "tabular" in FAMILIES[space.name].kinds:
            parts.append("`embedding_dim` is left out where a table has no categories.\n")
        parts.append(OPTIONAL_HEAD)
        parts.append(table(("parameter", "range", "default", "why this range", "source"), _optional_rows(space)))
    return "\n".join([*parts, OVERRIDES])


def _optional_rows(space: SearchSpace) -> Iterator[list[str]]:
    for parameter in space.optional:
        name, values, default, _, why, source = _parameter_cells(parameter, opens=())
        yield [name, values, default, why, source]


def _space_table(space: SearchSpace) -> str:
    rows = [_space_row(n, space[stage.name], stage) for n, stage in enumerate(outline_stages(space), start=1)]
    return table(("", "parameter", "range", "default", "opened with", "why this range", "source"), rows)


def _space_row(number: int, parameter: Parameter, stage: StageOutline) -> list[str]:
    return [str(number), *_parameter_cells(parameter, opens=stage.opens[1:])]


def _parameter_cells(parameter: Parameter, *, opens: Iterable[str]) -> list[str]:
    choices = [json.dumps(choice).strip('"') for choice in getattr(parameter, "choices", ())]
    default = parameter.default
    return [
        f"`{parameter.name}`",
        ", ".join(choices) or parameter.text(),
        f"{default:g}" if isinstance(default, float) else json.dumps(default).strip('"'),
        ", ".join(f"`{name}`" for name in opens),
        parameter.why,
        parameter.source,
    ]


def blocks_page() -> str:
    """Write docs/building_blocks.md."""
    parts = [NOTE, building_blocks.HEAD]
    for title, registries in building_blocks.sections().items():
        about = " ".join(registry.about for registry in registries).strip()
        parts += [f"## {title}\n", *([f"{fill(about, 115)}\n"] if about else [])]
        rows = [row for registry in registries for row in building_blocks.block_rows(registry)]
        parts.append(table(building_blocks.COLUMNS, rows))
    parts += ["## Index\n", "What networks are made of, and where it is here.\n"]
    parts += [table(("id", "what", "where"), building_blocks.index_rows())]
    return "\n".join(parts)


def api_text() -> str:
    """Write docs/api.md."""
    parts = [NOTE, api_page.HEAD]
    for title, about, rows in api_page.sections():
        parts += [f"### {title}\n", f"{about}\n", table(api_page.ROUTE_COLUMNS, rows)]
    parts += [api_page.PROBLEMS, table(api_page.PROBLEM_COLUMNS, api_page.problem_rows()), api_page.PROBE]
    return "\n".join(parts)


def performance_text() -> str:
    """Write docs/performance.md."""
    records = performance_page.read_records()
    parts = [PERFORMANCE_NOTE, performance_page.HEAD]
    for section, note, made in performance_page.tables(records):
        parts += [
            f"## {section.title}\n",
            f"{fill(section.about, 115)}\n",
            *([table(*made)] if made else []),
            f"{note}\n",
        ]
    if records:
        rows = performance_page.machine_rows(records)
        parts += ["## Measured on\n", table(performance_page.MACHINE_COLUMNS, rows)]
    return "\n".join(parts)


def pages() -> dict[Path, str]:
    """Give every page that is written, by its path."""
    return {
        FOLDER / "spec.md": spec_page(),
        FOLDER / "search_spaces.md": spaces_page(),
        FOLDER / "building_blocks.md": blocks_page(),
        FOLDER / "api.md": api_text(),
        FOLDER / "performance.md": performance_text(),
    }


def main(arguments: list[str]) -> int:
    """Write or check; the exit code says whether a check found something out of date."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if arguments == ["--check"]:
            sys.stderr.write(f"{path.name} is out of date: run python docs/generate.py\n")
        else:
            path.write_text(pages()[path], encoding="utf-8")
    return 1 if stale and arguments == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
