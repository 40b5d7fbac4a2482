"""LCBench as a network: the learning curve of any MLP configuration on 34 tasks of OpenML.

The folder holds `model.onnx` (a surrogate fitted by YAHPO Gym to LCBench's 68,000 measured curves),
`encoding.json` (task -> integer code) and `config_space.json` (ranges, and the order of the tasks).

Source:
    Zimmer, Lindauer & Hutter 2021, arXiv:2006.13799 (LCBench); Pfisterer et al. 2022, arXiv:2109.03670
    (the surrogate; val_accuracy is in percent, epochs 2 to 51 are sound).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.replay.problem import Floats, Params
from search_spaces import Float, Int, SearchSpace

FIRST_EPOCH = 2  # sound from here
LAST_EPOCH = 51  # to here
OUTPUTS = (
    "time",  # seconds
    "val_accuracy",  # percent
    "val_cross_entropy",
    "val_balanced_accuracy",
    "test_cross_entropy",
    "test_balanced_accuracy",
)
# The surrogate's name for each of ours, in the order of its input after the epoch.
_INPUTS = {
    "batch_size": "batch_size",
    "lr": "learning_rate",
    "momentum": "momentum",
    "weight_decay": "weight_decay",
    "depth": "num_layers",
    "width": "max_units",
    "dropout": "max_dropout",
}
# Where a practitioner starts with SGD and momentum: PyTorch's and scikit-learn's usual values, chosen before
# any of these tasks was looked at.
DEFAULTS: dict[str, Any] = {
    "batch_size": 64,
    "lr": 1e-2,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "depth": 3,
    "width": 256,
    "dropout": 0.2,
}
# The documented order of priority; momentum and depth have no place of their own in it and come last.
_ORDER = ("lr", "dropout", "width", "batch_size", "weight_decay", "momentum", "depth")


class LCBench:
    """The surrogate, opened once.

    Args:
        folder: Holds the three files.

    Raises:
        FileNotFoundError: One of them is missing.
    """

    def __init__(self, folder: Path) -> None:
        for name in ("model.onnx", "encoding.json", "config_space.json"):
            if not (folder / name).is_file():
                raise FileNotFoundError(f"a surrogate's folder holds {name}, not found in {folder}")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # sums must not depend on the machine
        options.inter_op_num_threads = 1
        self._folder = folder
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        ranges = json.loads((folder / "config_space.json").read_text(encoding="utf-8"))["hyperparameters"]
        self._ranges: dict[str, dict[str, Any]] = {body["name"]: body for body in ranges}
        encoding = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))
        self._codes: dict[str, int] = encoding["OpenML_task_id"]

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks, in the order of config_space.json."""
        return tuple(self._ranges["OpenML_task_id"]["choices"])

    @property
    def development_tasks(self) -> tuple[str, ...]:
        """The even-numbered positions. The others are kept as a fair test."""
        return self.tasks[::2]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the model."""
        return hashlib.sha256((self._folder / "model.onnx").read_bytes()).hexdigest()

    @cached_property
    def space(self) -> SearchSpace:
        """The published ranges, under our names."""
        parameters: list[Float | Int] = []
        for name in _ORDER:
            body = self._ranges[_INPUTS[name]]
            make: Any = Int if body["type"] == "uniform_int" else Float
            parameters.append(
                make(
                    name=name,
                    low=body["lower"],
                    high=body["upper"],
                    log=body["log"],
                    default=DEFAULTS[name],
                    why="the range that was measured",
                    source="LCBench",
                )
            )
        return SearchSpace(name="lcbench", parameters=tuple(parameters))

    def evaluate(self, task: str, configurations: Sequence[Params], epochs: Sequence[int]) -> NDArray[Any]:
        """Ask the network, all configurations and epochs in one call.

        Args:
            task: An OpenML task id.
            configurations: N of them, under our names.
            epochs: E of them, 2 to 51.

        Returns:
            (N, E, 6) float32, the last axis in the order of `OUTPUTS`.

        Raises:
            KeyError: No such task.
        """
        if task not in self._codes or task not in self.tasks:
            raise KeyError(f"a task is one of {', '.join(self.tasks)}, got {task!r}")
        settings = np.array([[float(c[name]) for name in _INPUTS] for c in configurations], np.float32)
        x_cont = np.empty((len(settings), len(epochs), 1 + len(_INPUTS)), np.float32)
        x_cont[:, :, 0] = np.asarray(epochs, np.float32)
        x_cont[:, :, 1:] = settings[:, None, :]
        rows = x_cont.reshape(-1, 1 + len(_INPUTS))
        x_cat = np.full((len(rows), 1), self._codes[task], np.int32)
        output: NDArray[Any] = self._session.run(None, {"x_cat": x_cat, "x_cont": rows})[0]
        return output.reshape(len(settings), len(epochs), len(OUTPUTS))

    def curve(self, task: str, params: Params) -> Mapping[str, NDArray[Any]]:
        """Give every output of one configuration over epochs 2 to 51, one call.

        Returns:
            Output's name -> (50,) float32.
        """
        curves = self.evaluate(task, [params], range(FIRST_EPOCH, LAST_EPOCH + 1))[0]
        return {name: curves[:, i] for i, name in enumerate(OUTPUTS)}


class LCBenchProblem:
    """One task of LCBench: maximize the validation accuracy (percent) after 51 epochs.

    Epoch 1 is paid for and gives no value: the surrogate is not sound there.
    """

    max_epochs = LAST_EPOCH

    def __init__(self, lcbench: LCBench, task: str) -> None:
        self._lcbench = lcbench
        self.name = task
        self.space = lcbench.space
        self.fingerprint = lcbench.fingerprint

    def curve(self, params: Params) -> Floats:
        """Give the validation accuracy after epoch 1 (NaN), 2, ..., 51."""
        curve = np.full(LAST_EPOCH, np.nan)
        curve[FIRST_EPOCH - 1 :] = self._lcbench.curve(self.name, params)["val_accuracy"]
        return curve

    def finals(self, configurations: Sequence[Params]) -> Floats:
        """Give the validation accuracy after 51 epochs."""
        output = self._lcbench.evaluate(self.name, configurations, [LAST_EPOCH])
        return np.asarray(output[:, 0, OUTPUTS.index("val_accuracy")], np.float64)
