"""The stack that a person writes from the documentation: Ray Tune, OptunaSearch, ASHA, Lightning, MLflow.

    python -m benchmarks.plain_stack --variant plain --trials 20 --json

Each part is used as its own pages show it: a function trainable with `tune.with_parameters` for the data and
`tune.with_resources` for one CPU each, `TuneReportCheckpointCallback` from Ray's Lightning integration,
`OptunaSearch` below a limit of concurrent trials, `ASHAScheduler`, `MLflowLoggerCallback` on SQLite. Ray's
function trainables can be reset, so `reuse_actors=True` is all that the second variant needs. Like tuneladder
it has the best epoch's checkpoint in the end; `--no-checkpoints` shows what it costs without.

Left out of the clock, in its favour: imports of the driver, `ray.init`, and the creation of MLflow's tables.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

# The csv, json and tensorboard writers: a person who has MLflow turns them off.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")

import mlflow
import ray
from pytorch_lightning.callbacks import EarlyStopping
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.integration.pytorch_lightning import TuneReportCheckpointCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks import digits_problem as problem
from benchmarks.digits_by_hand import Arrays, DigitsMLP, load_arrays, make_loaders, make_trainer
from benchmarks.figures import Figures, print_figures

_EXPERIMENT = "digits-plain"


def train_digits(config: dict[str, Any], *, arrays: Arrays, max_epochs: int, checkpoints: bool) -> None:
    """Train one trial; Ray calls this in a worker."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    train, validation = make_loaders(arrays, config["batch_size"])
    trainer = make_trainer(
        max_epochs=max_epochs,
        callbacks=[
            EarlyStopping(problem.METRIC, mode="max", patience=problem.PATIENCE),
            TuneReportCheckpointCallback(
                [problem.METRIC, "val_loss"], save_checkpoints=checkpoints, on="validation_end"
            ),
        ],
    )
    trainer.fit(DigitsMLP(config), train, validation)


def tune_space() -> dict[str, Any]:
    """Write the problem's ranges in Ray Tune's words."""
    space: dict[str, Any] = {}
    for name, body in problem.SPACE.items():
        if "choices" in body:
            space[name] = tune.choice(body["choices"])
        elif body.get("log"):
            space[name] = tune.loguniform(body["low"], body["high"])
        else:
            space[name] = tune.uniform(body["low"], body["high"])
    return space


def run_plain(
    *, trials: int, workers: int, reuse_actors: bool, max_epochs: int, home: Path, checkpoints: bool = True
) -> Figures:
    """Tune the digits problem and measure it.

    Args:
        trials: How many configurations to try.
        workers: Concurrent trials, one CPU each.
        reuse_actors: Ray Tune's own switch: keep a worker for the next trial.
        max_epochs: Epochs of a trial that nothing stops.
        home: An empty folder for Ray Tune's results and MLflow's database.
        checkpoints: Keep the best epoch's checkpoint of each trial.
    """
    uri = f"sqlite:///{home / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(_EXPERIMENT)  # creates the tables, before the clock starts
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        trainable = tune.with_parameters(
            train_digits, arrays=load_arrays(), max_epochs=max_epochs, checkpoints=checkpoints
        )
        best = BestSoFar()
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=tune_space(),
            tune_config=tune.TuneConfig(
                metric=problem.METRIC,
                mode="max",
                search_alg=OptunaSearch(seed=0),
                scheduler=ASHAScheduler(
                    max_t=max_epochs,
                    grace_period=min(problem.GRACE_EPOCHS, max_epochs),
                    reduction_factor=problem.REDUCTION_FACTOR,
                ),
                num_samples=trials,
                max_concurrent_trials=workers,
                reuse_actors=reuse_actors,
            ),
            run_config=tune.RunConfig(
                name="digits",
                storage_path=str(home / "tune"),
                # No num_to_keep: Tune warns that it forces a snapshot with every checkpoint of short epochs.
                callbacks=[MLflowLoggerCallback(tracking_uri=uri, experiment_name=_EXPERIMENT), best],
                verbose=0,
            ),
        )
        start = time.perf_counter()
        results = tuner.fit()
        wall_s = time.perf_counter() - start
    finally:
        ray.shutdown()
    if results.num_errors or len(results) != trials:
        raise RuntimeError(
            f"every trial must end without an error, got {results.num_errors} of {len(results)}: {results.errors}"
        )
    epochs = sum((results[i].metrics or {})["training_iteration"] for i in range(len(results)))
    return Figures(wall_s=wall_s, trials=len(results), epochs=epochs, best=best.accuracy)


class BestSoFar(tune.Callback):
    """Remember the best epoch: without the csv and json writers no other record of past epochs is left."""

    def __init__(self) -> None:
        self.accuracy = 0.0

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Hear of one epoch of one trial."""
        self.accuracy = max(self.accuracy, float(result[problem.METRIC]))


def main(arguments: list[str] | None = None) -> None:
    """Run one variant and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain_stack", description=__doc__)
    parser.add_argument("--variant", choices=["plain", "reuse"], default="plain")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=problem.WORKERS)
    parser.add_argument("--max-epochs", type=int, default=problem.MAX_EPOCHS)
    parser.add_argument("--no-checkpoints", action="store_true", help="keep no checkpoint of any trial")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="plain-stack-") as home:
        figures = run_plain(
            trials=chosen.trials,
            workers=chosen.workers,
            reuse_actors=chosen.variant == "reuse",
            max_epochs=chosen.max_epochs,
            home=Path(home),
            checkpoints=not chosen.no_checkpoints,
        )
    print_figures(chosen.variant, figures, as_json=chosen.json)


if __name__ == "__main__":
    main()
