"""A search space as Optuna sees it, and the seeds and immune trials that follow from it."""

import hashlib
import random
import warnings
from collections.abc import Mapping

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from dexsearch.config.dependencies import drawing_order
from dexsearch.config.space import Distribution, FloatRange, IntRange, Scalar, SearchSpace


def distribution_of(distribution: Distribution) -> BaseDistribution:
    """Translate one distribution of a search space to Optuna's."""
    if isinstance(distribution, IntRange):
        return IntDistribution(*distribution.int, log=distribution.log)
    if isinstance(distribution, FloatRange):
        return FloatDistribution(*distribution.float, log=distribution.log)
    return CategoricalDistribution(distribution.choice)


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Translate every searched key."""
    return {key: distribution_of(value) for key, value in space.search.items()}


def suggestion_order(space: SearchSpace) -> list[str]:
    """Return the searched keys in the order of drawing: each after those that decide on it."""
    return drawing_order(space.search)


def suggest(trial: optuna.Trial, space: SearchSpace) -> dict[str, Scalar]:
    """Draw the searched parameters of one trial, in the order of the file.

    A parameter whose condition does not hold is not drawn: otherwise the sampler would learn from
    values that changed nothing. A trial without an adversarial loss has no discriminator, say.
    """
    params: dict[str, Scalar] = {}
    for key in suggestion_order(space):
        if space.is_drawn(key, params):
            params[key] = _suggest_one(trial, key, distribution_of(space.search[key]))
    return {key: params[key] for key in space.search if key in params}


def _suggest_one(trial: optuna.Trial, key: str, distribution: BaseDistribution) -> Scalar:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=UserWarning)  # categories of mixed types
        match distribution:
            case IntDistribution(low=low, high=high, log=log):
                return trial.suggest_int(key, low, high, log=log)
            case FloatDistribution(low=low, high=high, log=log):
                return trial.suggest_float(key, low, high, log=log)
            case CategoricalDistribution(choices=choices):
                value: Scalar = trial.suggest_categorical(key, choices)  # type: ignore[assignment]
                return value
    raise TypeError(f"no suggestion for {distribution!r}")


def derived_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2^31) that follows from `parts` and from nothing else."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def trial_seed(space: SearchSpace, number: int) -> int:
    """Return the seed of the initial weights and batch order of a trial."""
    return derived_seed(space.sampler.seed, "trial", number)


def is_immune(space: SearchSpace, number: int) -> bool:
    """Tell whether a trial is never stopped, so that pruning can be audited.

    Each consecutive block of `pruner.immune_every` trials has exactly one such trial, at a
    place drawn from the sampler's seed, and never among the enqueued ones.
    """
    every = space.pruner.immune_every
    if every == 0 or space.pruner.kind == "none":
        return False
    block = number // every
    candidates = range(max(block * every, len(space.enqueue)), (block + 1) * every)
    if not candidates:
        return False
    return number == random.Random(derived_seed(space.sampler.seed, "immune", block)).choice(
        candidates
    )


def enqueued_params(space: SearchSpace, number: int) -> Mapping[str, Scalar] | None:
    """Return what the space wants tried as trial `number`, if anything."""
    return space.enqueue[number] if number < len(space.enqueue) else None
