"""Optuna's samplers and pruners from their configuration."""

import warnings

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler, TPESampler

from dexsearch.config.space import PrunerConfig, SamplerConfig
from dexsearch.search.space import derived_seed


def build_sampler(config: SamplerConfig, n_trials: int) -> BaseSampler:
    """Build the sampler that proposes trial number `n_trials`.

    Its seed follows from the configured seed and the number, so a search that was interrupted
    does not repeat its first trials, and one trial at a time gives the same search either way.
    (`qmc` walks along one sequence; its place is kept in the study.)
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
                return QMCSampler(
                    scramble=True, seed=derived_seed(config.seed), warn_independent_sampling=False
                )


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
