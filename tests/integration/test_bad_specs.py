"""A bad spec ends with exit code 2 and one message: field, rule, value, remedy; nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import Command
from mistakes import Case, check, replaced

CASES = [
    # The document.
    Case(
        "an unknown key", r"^bugdet: unknown key 'bugdet': did you mean 'budget'\?", replaced(bugdet={"epochs": 3})
    ),
    Case(
        "an unknown key in a section",
        r"^budget\.max_epochs_of_trial: unknown key .*: did you mean 'max_epochs_per_trial'\?",
        replaced(budget={"max_epochs_of_trial": 3}),
    ),
    Case(
        "an unknown key in the data section",
        r"^data\.validation_fractoin: unknown key .*did you mean 'validation_fraction'\?",
        replaced(data={"name": "wine", "validation_fractoin": 0.1}),
    ),
    Case(
        "a key with a capital",
        r"^Budget: unknown key 'Budget': did you mean 'budget'\?",
        replaced(Budget={"epochs": 3}),
    ),
    Case("a key with a dash", r"^search\.top-k: unknown key 'top-k': known here: ", replaced(search={"top-k": 3})),
    Case(
        "a setting that is a list",
        r"^model\.Top-Width: .*got \[3\]: change it",
        replaced(model={"Top-Width": [3]}),
    ),
    Case(
        "a document that holds itself",
        r"a spec is a tree, got a YAML alias .*: write the values out",
        "family: mlp\ndata: &data {name: wine, more: *data}\n",
    ),
    Case(
        "a text for a number",
        r"^budget\.epochs: input should be a valid integer, got '40': change it",
        replaced(budget={"epochs": "40"}),
    ),
    Case("a number for a text", r"^name: .*string, got 3: ", replaced(name=3)),
    Case(
        "a section that is a list", r"^budget: input should be a mapping, got \[1, 2\]: ", replaced(budget=[1, 2])
    ),
    Case("no family", r"^family: is required: add family to the spec", {"data": {"name": "wine"}}),
    Case("no data", r"^data: is required: add data to the spec", {"family": "mlp"}),
    Case(
        "a negative budget",
        r"^budget\.epochs: .*greater than or equal to 1, got -1: ",
        replaced(budget={"epochs": -1}),
    ),
    Case(
        "a bad duration", r"^budget\.wall_clock: .*90s, 30m, 1h30m.*soon", replaced(budget={"wall_clock": "soon"})
    ),
    Case("a wall clock of nothing", r"^budget\.wall_clock: .*greater than 0", replaced(budget={"wall_clock": 0})),
    Case("a seed below zero", r"^seed: .*greater than or equal to 0, got -1", replaced(seed=-1)),
    Case("a name with a slash", r"^name: .*a/b", replaced(name="a/b")),
    Case(
        "not a number",
        r"^early_stopping\.min_delta: .*nan",
        "family: mlp\ndata: {name: wine}\nearly_stopping: {min_delta: .nan}\n",
    ),
    Case("a list as a spec", r"a spec is a mapping.*got list in .*: see examples/", [1, 2]),
    Case("an empty spec", r"a spec is a mapping.*an empty file", ""),
    Case(
        "broken YAML",
        r"must be YAML or JSON, got: .* at line 3, column 1: correct it",
        "family: mlp\ndata: {name: wine\n",
    ),
    Case(
        "a repeated key",
        r"the key 'family' stands twice in one mapping at line 1, .*: correct it",
        "family: mlp\nfamily: cnn\ndata: {name: wine}\n",
    ),
    # What stands in it.
    Case(
        "an unknown family",
        r"^family: a family is mlp, cnn, rnn, .*got 'transformer': choose",
        replaced(family="transformer"),
    ),
    Case(
        "an unknown metric",
        r"^objective\.metric: .*'val_acuracy'.*did you mean 'val_accuracy'\?",
        replaced(objective={"metric": "val_acuracy"}),
    ),
    Case(
        "a metric of another task",
        r"^objective\.metric: .*'val_r2' for classification: ",
        replaced(objective={"metric": "val_r2"}),
    ),
    Case(
        "a mode that contradicts the metric",
        r"^objective.*val_accuracy is better when it is higher, got mode 'min': write mode: max",
        replaced(objective={"metric": "val_accuracy", "mode": "min"}),
    ),
    Case("an unknown mode", r"^objective\.mode: .*'min' or 'max', got 'up'", replaced(objective={"mode": "up"})),
    Case(
        "low above high",
        r"^search\.space\.lr: .*low.*high.*0\.1.*0\.001",
        replaced(search={"space": {"lr": {"low": 0.1, "high": 0.001, "log": True}}}),
    ),
    Case(
        "a log scale from zero",
        r"^search\.space\.lr\.low: a logarithmic range starts above 0, got low=0\.0: raise low or set log: false",
        replaced(search={"space": {"lr": {"low": 0.0, "high": 0.1, "log": True}}}),
    ),
    Case(
        "a range of words", r"^search\.space\.lr.*: .*'tiny'", replaced(search={"space": {"lr": {"low": "tiny"}}})
    ),
    Case(
        "an unknown parameter in the space",
        r"^search\.space\.learning_rate: .*lr",
        replaced(search={"space": {"learning_rate": {"low": 0.1, "high": 1.0}}}),
    ),
    Case(
        "an unknown key of a parameter",
        r"^search\.space\.lr.*: .*'hi'",
        replaced(search={"space": {"lr": {"low": 0.1, "hi": 1.0}}}),
    ),
    Case(
        "a choice that the family does not know",
        r"^search\.space\.activation: .*relu.*'rleu'",
        replaced(search={"space": {"activation": {"choices": ["relu", "rleu"]}}}),
    ),
    Case(
        "a range beyond what the family takes",
        r"^search\.space\.dropout: .*1\.5",
        replaced(search={"space": {"dropout": {"low": 0.0, "high": 1.5}}}),
    ),
    Case("an unknown setting", r"^model\.widht: .*did you mean 'width'", replaced(model={"widht": 3})),
    Case(
        "an augmentation that the data does not allow",
        r"^model\.colour_jitter: needs images with 3 channels, got 1: set it to 0",
        replaced(data={"name": "digits"}, model={"colour_jitter": 0.4}),
    ),
    Case(
        "an augmentation of another kind of data in the search",
        r"^search\.space\.rotation: augments image data, got tabular data: set it to 0",
        replaced(search={"space": {"rotation": {}}}),
    ),
    Case(
        "a loss of another task",
        r"^model\.loss: a loss must fit the task, got 'mse' for classification: take auto or one of ",
        replaced(model={"loss": "mse"}),
    ),
    Case(
        "a weight for an unknown class",
        r"^model\.class_weights: a class must be one of class_0, class_1, class_2, got 'class_9': ",
        replaced(model={"class_weights": {"class_9": 2}}),
    ),
    Case(
        "a weight that is a text",
        r"^model\.class_weights: a weight must be a finite number above 0 .*, got 'x' for 'class_0': change it",
        replaced(model={"class_weights": {"class_0": "x"}}),
    ),
    Case(
        "class weights without classes",
        r"^model\.class_weights: class weights need classes, got 'balanced' for regression: take none",
        replaced(data={"name": "diabetes"}, model={"class_weights": "balanced"}),
    ),
    Case("a setting of another type", r"^model\.width: .*'wide'", replaced(model={"width": "wide"})),
    Case(
        "a parameter both fixed and searched",
        r"^search\.space\.width: .*model and under search\.space: drop one",
        replaced(model={"width": 32}, search={"space": {"width": {"choices": [16, 32]}}}),
    ),
    Case(
        "an unknown parameter in the order",
        r"^search\.order: .*'larning_rate'",
        replaced(search={"order": ["larning_rate"]}),
    ),
    Case(
        "a parameter twice in the order",
        r"^search\.order: .*repeated: lr",
        replaced(search={"order": ["lr", "lr"]}),
    ),
    Case("an unknown strategy", r"^search\.strategy: .*got 'grid'", replaced(search={"strategy": "grid"})),
    Case(
        "one that goes on in one",
        r"^search\.rungs\.reduction_factor: .*2, got 1",
        replaced(search={"rungs": {"reduction_factor": 1}}),
    ),
    Case(
        "a first rung behind the last epoch",
        r"search\.rungs\.min_epochs <= budget\.max_epochs_per_trial must hold, got 9 > 4: ",
        replaced(search={"rungs": {"min_epochs": 9}}),
    ),
    Case(
        "a budget too small for one round",
        r"^budget\.epochs: the budget must hold one round of 2 candidates, which is \d+ epochs .*got 1: raise",
        replaced(budget={"epochs": 1, "max_epochs_per_trial": 4}),
    ),
    Case("an unknown export", r"^export\.formats.*: .*got 'pickle'", replaced(export={"formats": ["pickle"]})),
    Case("half a GPU too many", r"^resources\.gpu: .*got 1\.5", replaced(resources={"gpu": 1.5})),
    Case("a negative GPU", r"^resources\.gpu: .*got -1", replaced(resources={"gpu": -1})),
    Case(
        "a GPU where none is",
        r"^resources\.gpu: a GPU must be there.*gpu=1, .*: set resources\.gpu: 0",
        replaced(resources={"gpu": 1}),
    ),
    # A person's own modules.
    Case(
        "a module that cannot be imported",
        r"^family\.module: .*'no_such_package\.models' raises ModuleNotFoundError: .*: check the path",
        replaced(
            family={"module": "no_such_package.models:Net"}, search={"space": {"lr": {"low": 0.1, "high": 1.0}}}
        ),
    ),
    Case(
        "a module that raises when it is imported",
        r"^family\.module: .*'broken' raises ZeroDivisionError: ",
        replaced(family={"module": "broken:Net"}, search={"space": {"lr": {"low": 0.1, "high": 1.0}}}),
        lambda folder: (folder / "broken.py").write_text("1 / 0\n"),
    ),
    Case(
        "a class that the module does not have",
        r"^family\.module: 'colorsys' must have a class 'Net', it has none: ",
        replaced(family={"module": "colorsys:Net"}, search={"space": {"lr": {"low": 0.1, "high": 1.0}}}),
    ),
    Case(
        "a class that is no LightningModule",
        r"^family\.module: .*LightningModule.*fractions:Fraction",
        replaced(
            family={"module": "fractions:Fraction"},
            objective={"metric": "val_loss"},
            search={"space": {"lr": {"low": 0.1, "high": 1.0}}},
        ),
    ),
    Case(
        "an import path with no class",
        r"^family\.module: an import path is module and class",
        replaced(family={"module": "net"}),
    ),
    Case(
        "a data module that cannot be imported",
        r"^data\.module: .*'no_such_data' raises ModuleNotFoundError",
        replaced(data={"module": "no_such_data:Data"}),
    ),
    Case(
        "a family of the package on a data module",
        r"^family: mlp takes .* data, got a LightningDataModule: ",
        replaced(data={"module": "pytorch_lightning:LightningDataModule"}),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_mistake_in_a_spec_ends_with_one_message_and_leaves_nothing(
    case: Case, tuneladder: Command, tmp_path: Path
) -> None:
    check(case, tuneladder, tmp_path)
