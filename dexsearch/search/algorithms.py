"""Optuna's samplers and pruners from their configuration."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, TrialState

from dexsearch.config.space import PrunerConfig, SamplerConfig, SearchSpace
from dexsearch.search.space import derived_seed, distributions

KEEPS_STATE = ("qmc", "cmaes")
"""Samplers that keep in the study where they are, so that a rebuild has to restore it."""


def build_sampler(
    config: SamplerConfig, n_trials: int, space: SearchSpace | None = None
) -> BaseSampler:
    """Build the sampler that proposes trial number `n_trials`.

    Its seed follows from the configured seed and the number, so a search that was interrupted
    does not repeat its first trials, and one trial at a time gives the same search either way.
    (`qmc` walks along one sequence and `cmaes` moves one distribution; both are kept in the
    study.)

    Args:
        config: kind and seed.
        n_trials: how many trials the study has.
        space: what is searched, so that a sampler that wants the same parameters in each trial
            is told which; where it is None, Optuna guesses them from the trials.
    """
    seed = derived_seed(config.seed, "sampler", n_trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        match config.kind:
            case "tpe":
                return TPESampler(multivariate=True, group=True, seed=seed)
            case "random":
                return RandomSampler(seed=seed)
            case "qmc":
                sampler: BaseSampler = QMCSampler(
                    scramble=True, seed=derived_seed(config.seed), warn_independent_sampling=False
                )
            case "gp":
                sampler = GPSampler(
                    seed=seed, independent_sampler=TPESampler(seed=seed),
                    warn_independent_sampling=False,
                )  # fmt: skip
            case "cmaes":
                sampler = CmaEsSampler(
                    seed=seed, independent_sampler=TPESampler(seed=seed),
                    warn_independent_sampling=False,
                )  # fmt: skip
    return sampler if space is None else SamplerOfKeys(sampler, together(space))


def together(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return the parameters that the sampler of a space proposes together, by name.

    `qmc` has a coordinate for every parameter, which a trial that does not draw it passes over.
    `gp` and `cmaes` learn from complete configurations, so theirs are in every trial; `cmaes`
    moves numbers only. What is left is drawn by itself, by TPE.
    """
    found = {key: value for key, value in sorted(distributions(space).items())
             if not value.single()}  # fmt: skip
    if space.sampler.kind in ("gp", "cmaes"):
        found = {key: value for key, value in found.items() if space.is_in_every_trial(key)}
    if space.sampler.kind == "cmaes":
        found = {key: value for key, value in found.items()
                 if not isinstance(value, CategoricalDistribution)}  # fmt: skip
    return found


def sampler_note(space: SearchSpace) -> str | None:
    """Return what the sampler of a space cannot do with it, if anything; told at the start."""
    kind = space.sampler.kind
    if kind not in ("gp", "cmaes"):
        return None
    known = together(space)
    alone = [key for key, value in distributions(space).items()
             if key not in known and not value.single()]  # fmt: skip
    parts = []
    if alone:
        why = "is not in every trial" if kind == "gp" else "is a choice or not in every trial"
        parts.append(f"what {why} is drawn by TPE, each key by itself: {', '.join(alone)}")
    if space.pruner.kind != "none" or space.limits.model_dump(exclude_none=True):
        parts.append("it learns from complete trials only, not from pruned ones or broken limits")
    return f"sampler {kind}: {'; '.join(parts)}" if parts else None


class SamplerOfKeys(BaseSampler):
    """A sampler that is told which parameters it proposes together.

    Optuna's samplers guess them from the trials so far. That lets the first trial decide for
    good (qmc) or makes CMA-ES give up for good, without a word, where the guess changes.
    """

    def __init__(self, sampler: BaseSampler, keys: Mapping[str, BaseDistribution]) -> None:
        self._sampler = sampler
        self._keys = dict(keys)

    def reseed_rng(self) -> None:
        """Let the sampler draw a new seed."""
        self._sampler.reseed_rng()

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the given parameters."""
        return dict(self._keys)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose the given parameters."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Sobol's sequence about its length
            return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:  # fmt: skip  # noqa: ANN401  (a value of any distribution)
        """Propose one parameter that is none of them."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Pass on that a trial begins."""
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState,
        values: Sequence[float] | None,
    ) -> None:  # fmt: skip
        """Pass on that a trial ended."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=UserWarning)  # CMA-ES about constraints
            self._sampler.after_trial(study, trial, state, values)


def build_pruner(config: PrunerConfig, *, epochs: int) -> BasePruner:
    """Build the pruner; its first decision is at epoch `min_epochs`."""
    match config.kind:
        case "median":
            return MedianPruner(n_warmup_steps=config.min_epochs)
        case "percentile":
            # Ours stops what lies below the percentile, Optuna's keeps what lies in the top one.
            return PercentilePruner(100 - config.percentile, n_warmup_steps=config.min_epochs)
        case "successive_halving":
            return SuccessiveHalvingPruner(
                min_resource=config.min_epochs, reduction_factor=config.reduction
            )
        case "hyperband":
            return HyperbandPruner(
                min_resource=config.min_epochs,
                max_resource=epochs,
                reduction_factor=config.reduction,
            )
        case "none":
            return NopPruner()
