"""Which parameters decided the score? PED-ANOVA on a study rebuilt in memory from its ledger.

PED-ANOVA (Watanabe et al. 2023, doi:10.24963/ijcai.2023/488; for conditional parameters
arXiv:2601.20800) asks how differently a parameter is distributed among the best quarter of the
trials than among all. It needs nothing but the trials themselves, and no scikit-learn.

A small sample makes every parameter look important, so the same is computed for shuffled scores:
what shuffling reaches by chance stands beside each value. Only complete trials have a final
score, and pruning chose them; so the same is asked of the scores at the first epoch at which a
trial can be stopped. All trials have one but those that failed or met a limit before it, or that
have not come so far. Where nothing is pruned there is no such epoch, and no need of one.
"""

import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from pydantic import ValidationError

from dexsearch.config.space import SearchSpace
from dexsearch.ledger.study import StudyRecord
from dexsearch.search.space import distributions

FEWEST_TRIALS = 12
"""Fewer trials have fewer than three in their best quarter, from which nothing follows."""
BEST_SHARE = 0.25
N_SHUFFLES = 40
CHANCE_PERCENT = 95.0

Scored = tuple[dict[str, Any], float]
"""Parameters of a trial and its score."""


@dataclass(frozen=True, slots=True)
class Importance:
    """What one parameter contributed: shares of the sum over parameters."""

    name: str
    share: float
    chance: float
    """Share that scores without any connection to the parameters exceed once in twenty."""

    @property
    def beyond_chance(self) -> bool:
        """Whether the parameter matters more than shuffled scores make it matter."""
        return self.share > self.chance


@dataclass(frozen=True, slots=True)
class Importances:
    """The parameters in falling order for one score; `missing` says why there are none."""

    epoch: int
    """The epoch of the score."""
    n_trials: int
    parameters: tuple[Importance, ...]
    missing: str | None = None


def final_importances(record: StudyRecord) -> Importances:
    """Judge the final scores of the complete trials."""
    trials = [(t.params, t.value_at(t.last_epoch, record.objective)) for t in record.ranking()]
    return _judge(record, trials, max((t.last_epoch for t in record.ranking()), default=0))


def early_importances(record: StudyRecord) -> Importances:
    """Judge the scores at the first epoch at which the pruner can stop a trial."""
    pruner = record.space.get("pruner", {})
    epochs = int(record.space.get("epochs", 1))
    if pruner.get("kind", "none") == "none":
        reason = "nothing was pruned, so pruning did not choose whose final scores there are"
        return Importances(epochs, 0, (), reason)
    epoch = int(pruner.get("min_epochs", epochs))
    trials = [
        (t.params, t.value_at(epoch, record.objective))
        for t in record.trials
        if t.epochs.get(epoch, {}).get(record.objective) is not None
    ]
    return _judge(record, trials, epoch)


def _judge(record: StudyRecord, trials: Sequence[Scored], epoch: int) -> Importances:
    if len(trials) < FEWEST_TRIALS:
        return Importances(
            epoch, len(trials), (),
            f"{len(trials)} trials have a score at epoch {epoch}: too few to judge (under "
            f"{FEWEST_TRIALS})",
        )  # fmt: skip
    try:
        known = distributions(SearchSpace.model_validate(record.space))
    except ValidationError:
        reason = "the search space was written by another version of dexsearch"
        return Importances(epoch, len(trials), (), reason)
    known = {key: value for key, value in known.items() if _is_drawn(key, value, trials)}
    if not known:
        return Importances(epoch, len(trials), (), "no parameter was searched")
    return Importances(epoch, len(trials), _importances(known, trials))


def _is_drawn(key: str, distribution: BaseDistribution, trials: Sequence[Scored]) -> bool:
    return not distribution.single() and sum(key in params for params, _ in trials) > 1


def _importances(
    known: Mapping[str, BaseDistribution], trials: Sequence[Scored]
) -> tuple[Importance, ...]:
    """Return the shares, and what shuffled scores give."""
    found = _shares(known, trials)
    shuffler, values = random.Random(0), [value for _, value in trials]
    by_chance = []
    for _ in range(N_SHUFFLES):
        shuffler.shuffle(values)
        shuffled = [(params, value) for (params, _), value in zip(trials, values, strict=True)]
        by_chance.append(_shares(known, shuffled))
    return tuple(
        Importance(
            name,
            value,
            float(np.percentile([one[name] for one in by_chance], CHANCE_PERCENT)),
        )
        for name, value in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    )


def _shares(known: Mapping[str, BaseDistribution], trials: Sequence[Scored]) -> dict[str, float]:
    """Return PED-ANOVA's importances as shares of their sum."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mixed categories; regimes of few trials
        study = optuna.create_study(direction="maximize")
        study.add_trials([_frozen(known, params, value) for params, value in trials])
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
        return optuna.importance.get_param_importances(
            study, evaluator=evaluator, params=list(known), normalize=True
        )


def _frozen(
    known: Mapping[str, BaseDistribution], params: Mapping[str, Any], value: float
) -> optuna.trial.FrozenTrial:
    """Return a complete trial of the parameters that can be drawn; others are left out."""
    drawn = {
        key: _as_drawn(distribution, params[key])
        for key, distribution in known.items()
        if key in params
    }
    return optuna.create_trial(
        params=drawn, distributions={key: known[key] for key in drawn}, value=value
    )


def _as_drawn(distribution: BaseDistribution, value: Any) -> Any:  # noqa: ANN401
    """Give a number from JSON the type of its distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return value
    return (
        float(value) if isinstance(distribution, optuna.distributions.FloatDistribution) else value
    )
