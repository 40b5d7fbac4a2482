"""Which hyperparameters mattered in this job's data, beside the documented order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
import optuna.importance  # a part of scikit-learn, now and not when the job ends
from optuna.trial import TrialState, create_trial

from search_spaces import SearchSpace
from service.search.encoding import distribution, encode
from service.search.rounds import Trial, loss_at
from service.spec import Mode

MIN_TRIALS = 10  # below, the ranking says nothing


def importances(space: SearchSpace, trials: Sequence[Trial], *, mode: Mode, epoch: int) -> dict[str, float]:
    """Rank the hyperparameters by PED-ANOVA over all trials, each at its value at the same epoch.

    A ladder tries some hyperparameters more widely than others, so this describes what was seen, and is
    no experiment of its own.

    Args:
        space: What varied.
        trials: All trials of a job.
        mode: Direction of the objective.
        epoch: Where every trial was measured: the first rung.

    Returns:
        Name -> share of the importance (they sum to 1), highest first; empty below `MIN_TRIALS` trials.

    Source:
        Watanabe, Bansal & Hutter 2023, "PED-ANOVA", arXiv:2304.10255.
    """
    distributions = {parameter.name: distribution(parameter) for parameter in space}
    study = optuna.create_study(direction="minimize")
    for trial in trials:
        loss = loss_at(trial, epoch, mode)
        if trial.epochs >= epoch and math.isfinite(loss):
            params = {p.name: encode(p, trial.params[p.name]) for p in space}
            study.add_trial(
                create_trial(state=TrialState.COMPLETE, value=loss, params=params, distributions=distributions)
            )
    if len(study.trials) < MIN_TRIALS:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return optuna.importance.get_param_importances(study, evaluator=evaluator)
