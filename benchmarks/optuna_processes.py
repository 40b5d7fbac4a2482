"""What a careful person writes for one machine without Ray: two processes that share an Optuna study.

    python -m benchmarks.optuna_processes --trials 20 --json

As Optuna's page on parallel runs on one machine says: a `JournalStorage` on a file, the same script in each
process, `MaxTrialsCallback` to stop together. The pruner is successive halving with the rungs of the other
stacks. Each trial is a Lightning run with early stopping, a `ModelCheckpoint` for its best epoch and an
`MLFlowLogger` on SQLite. (optuna-integration's pruning callback wants the package `lightning`; the few lines
below do the same for `pytorch_lightning`.)

Left out of the clock, in its favour: imports of the parent and the creation of MLflow's tables. The start of
the two processes counts, as the start of workers does everywhere.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import mlflow
import optuna
import pytorch_lightning as pl
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import MLFlowLogger

from benchmarks import digits_problem as problem
from benchmarks.digits_by_hand import DigitsMLP, load_arrays, make_loaders, make_trainer
from benchmarks.figures import Figures, print_figures

_EXPERIMENT = "digits-optuna-processes"
_STUDY = "digits"
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class PruneOnValidation(pl.Callback):
    """Report each epoch's accuracy to Optuna and stop where it says so."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial
        self.best = 0.0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report, and raise `TrialPruned` at a rung that this trial does not pass."""
        accuracy = float(trainer.callback_metrics[problem.METRIC])
        self.best = max(self.best, accuracy)
        self.trial.report(accuracy, step=trainer.current_epoch + 1)
        if self.trial.should_prune():
            raise optuna.TrialPruned()


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    """Write the problem's ranges in Optuna's words."""
    config: dict[str, Any] = {}
    for name, body in problem.SPACE.items():
        if "choices" in body:
            config[name] = trial.suggest_categorical(name, body["choices"])
        else:
            config[name] = trial.suggest_float(name, body["low"], body["high"], log=body.get("log", False))
    return config


def open_study(home: Path, *, max_epochs: int, seed: int) -> optuna.Study:
    """Open the shared study; each process samples from its own seed."""
    return optuna.create_study(
        study_name=_STUDY,
        storage=JournalStorage(JournalFileBackend(str(home / "study.log"))),
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=min(problem.GRACE_EPOCHS, max_epochs), reduction_factor=problem.REDUCTION_FACTOR
        ),
    )


def work(home: Path, trials: int, max_epochs: int, seed: int) -> None:
    """Run trials until the study has enough: what each of the processes does."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    arrays = load_arrays()

    def objective(trial: optuna.Trial) -> float:
        config = suggest(trial)
        train, validation = make_loaders(arrays, config["batch_size"])
        pruning = PruneOnValidation(trial)
        logger = MLFlowLogger(
            experiment_name=_EXPERIMENT,
            tracking_uri=f"sqlite:///{home / 'mlflow.db'}",
            run_name=f"trial-{trial.number}",
        )
        trainer = make_trainer(
            max_epochs=max_epochs,
            logger=logger,
            callbacks=[
                EarlyStopping(problem.METRIC, mode="max", patience=problem.PATIENCE),
                ModelCheckpoint(
                    dirpath=home / "checkpoints" / str(trial.number), monitor=problem.METRIC, mode="max"
                ),
                pruning,
            ],
        )
        trainer.fit(DigitsMLP(config), train, validation)
        return pruning.best

    study = open_study(home, max_epochs=max_epochs, seed=seed)
    study.optimize(objective, callbacks=[MaxTrialsCallback(trials, states=_ENDED)])


def run_optuna_processes(*, trials: int, workers: int, max_epochs: int, home: Path) -> Figures:
    """Tune the digits problem and measure it.

    Args:
        trials: How many configurations to try; each further process may overshoot by one, as documented.
        workers: Processes.
        max_epochs: Epochs of a trial that nothing stops.
        home: An empty folder for the journal, the checkpoints and MLflow's database.
    """
    mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
    mlflow.set_experiment(_EXPERIMENT)  # creates the tables, before the clock starts
    study = open_study(home, max_epochs=max_epochs, seed=0)
    context = multiprocessing.get_context("spawn")
    start = time.perf_counter()
    processes = [context.Process(target=work, args=(home, trials, max_epochs, seed)) for seed in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    wall_s = time.perf_counter() - start
    ended = study.get_trials(deepcopy=False, states=_ENDED)
    failed = [trial.number for trial in ended if trial.state == TrialState.FAIL]
    if failed or any(process.exitcode for process in processes) or len(ended) < trials:
        codes = [process.exitcode for process in processes]
        raise RuntimeError(
            f"every process and trial must end well, got exit codes {codes}, failed trials {failed}, "
            f"{len(ended)} of {trials} ended"
        )
    return Figures(
        wall_s=wall_s,
        trials=len(ended),
        epochs=sum(len(trial.intermediate_values) for trial in ended),
        best=max(max(trial.intermediate_values.values()) for trial in ended),
    )


def main(arguments: list[str] | None = None) -> None:
    """Run it and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optuna_processes")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=problem.WORKERS)
    parser.add_argument("--max-epochs", type=int, default=problem.MAX_EPOCHS)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of output")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="optuna-processes-") as home:
        figures = run_optuna_processes(
            trials=chosen.trials, workers=chosen.workers, max_epochs=chosen.max_epochs, home=Path(home)
        )
    print_figures("optuna_processes", figures, as_json=chosen.json)


if __name__ == "__main__":
    main()
