"""How large is a search space: its configurations counted, and some of them drawn."""

import math
import random
from collections.abc import Iterator
from itertools import product

from dexsearch.config.dependencies import conditions_of, possible_values
from dexsearch.config.space import (
    Choice,
    Distribution,
    FloatRange,
    IntRange,
    Scalar,
    SearchSpace,
)
from dexsearch.config.trial import TrialConfig
from dexsearch.errors import ConfigurationError

Params = dict[str, Scalar]


def decisions(space: SearchSpace) -> Iterator[Params]:
    """Yield every combination of the searched values on which other keys' conditions depend.

    Each as far as it is drawn and each once; a space without conditions has one, the empty one.
    """
    deciding = {c.key for key in space.search for c in conditions_of(space.search, key)}
    keys = [key for key in space.search if key in deciding]
    seen = set()
    for values in product(*(possible_values(space.search[key]) for key in keys)):
        drawn = space.drawn(dict(zip(keys, values, strict=True)))
        if repr(drawn) not in seen:
            seen.add(repr(drawn))
            yield drawn


def n_configurations(space: SearchSpace) -> int | None:
    """Count the configurations that can be drawn; None where a continuous key makes them endless.

    Two differ if they differ in a key that is drawn in either.
    """
    return None if continuous_keys(space) else sum(_n_beside(space, d) for d in decisions(space))


def continuous_keys(space: SearchSpace) -> tuple[str, ...]:
    """Return the searched keys that take any value of a range."""
    return tuple(k for k, values in space.search.items() if isinstance(values, FloatRange))


def draw_configurations(space: SearchSpace, n: int, *, seed: int) -> tuple[TrialConfig, ...]:
    """Draw configurations at random, each key evenly over its range (or its logarithm).

    Those that no trial could run, because of a combination of values, are left out.
    """
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        params = {key: _draw(values, rng) for key, values in space.search.items()}
        try:
            found.append(space.config_for(space.drawn(params), seed=0))
        except ConfigurationError:
            continue  # such a trial would fail at once; the search goes on without it
    return tuple(found)


def _n_beside(space: SearchSpace, decided: Params) -> int:
    """Return how many configurations share the values that were decided."""
    others = [k for k in space.search if k not in decided and space.is_drawn(k, decided)]
    return math.prod(len(possible_values(space.search[key])) for key in others)


def _draw(values: Distribution, rng: random.Random) -> Scalar:
    match values:
        case Choice():
            return rng.choice(values.choice)
        case IntRange():
            low, high = values.int
            if not values.log:
                return rng.randint(low, high)
            return min(high, int(math.exp(rng.uniform(math.log(low), math.log(high + 1)))))
        case FloatRange():
            first, last = values.float
            if not values.log:
                return rng.uniform(first, last)
            drawn = math.exp(rng.uniform(math.log(first), math.log(last)))
            return min(max(drawn, first), last)
