"""How large is a search space: its configurations counted, and some of them drawn."""

import math
import random
from collections.abc import Iterator

from dexsearch.config.conditions import Condition
from dexsearch.config.dependencies import conditions_of, drawing_order, possible_values
from dexsearch.config.space import (
    Choice,
    Distribution,
    FloatRange,
    IntRange,
    LimitsConfig,
    Scalar,
    SearchSpace,
)
from dexsearch.config.trial import TrialConfig
from dexsearch.errors import ConfigurationError

Params = dict[str, Scalar]


def decisions(space: SearchSpace) -> Iterator[Params]:
    """Yield every combination of the searched values on which other keys' conditions depend.

    Each as far as it is drawn and each once; a space without conditions has one, the empty one.
    Of values that decide alike only the first is met: a condition `depth == 2` tells 2 from the
    rest of a range, however long it is. `alike` returns that rest.
    """
    deciding = {c.key for key in space.search for c in conditions_of(space.search, key)}
    yield from _decided(space, [key for key in drawing_order(space.search) if key in deciding], {})


def alike(space: SearchSpace, key: str, value: Scalar) -> tuple[Scalar, ...]:
    """Return the values of a deciding key for which the same conditions hold as for `value`."""
    return _by_verdict(space, key)[_verdict(_about(space, key), value)]


def n_configurations(space: SearchSpace) -> int | None:
    """Count the configurations that can be drawn; None where a continuous key makes them endless.

    Two differ if they differ in a key that is drawn in either. Those over a limit count, too.
    """
    return None if continuous_keys(space) else sum(_n_beside(space, d) for d in decisions(space))


def continuous_keys(space: SearchSpace) -> tuple[str, ...]:
    """Return the searched keys that take any value of a range."""
    return tuple(k for k, values in space.search.items() if isinstance(values, FloatRange))


def draw_configurations(space: SearchSpace, n: int, *, seed: int) -> tuple[TrialConfig, ...]:
    """Draw configurations at random, each key evenly over its range (or its logarithm).

    Those that no trial would train are left out: values that contradict each other, and
    generators over `limits.parameters`.

    Raises:
        ConfigurationError: if the limit leaves none of those that could be trained.
    """
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        params = {key: _draw(values, rng) for key, values in space.search.items()}
        try:
            found.append(space.config_for(space.drawn(params), seed=0))
        except ConfigurationError:
            continue  # such a trial would fail at once; the search goes on without it
    return _within_limits(space.limits, tuple(found))


def _within_limits(
    limits: LimitsConfig, configs: tuple[TrialConfig, ...]
) -> tuple[TrialConfig, ...]:
    """Leave out what the search would end before it trains."""
    from dexsearch.search.limits import broken_limit, counted_parameters

    if limits.parameters is None or not configs:
        return configs
    counts = [counted_parameters(limits, config) for config in configs]
    kept = tuple(
        config
        for config, count in zip(configs, counts, strict=True)
        if broken_limit(limits, n_parameters=count, latency_ms=None) is None
    )
    if not kept:
        fewest = min(count for count in counts if count is not None)
        raise ConfigurationError(
            f"limits.parameters is {limits.parameters:,}, and the smallest generator of "
            f"{len(configs)} configurations drawn at random has {fewest:,}; raise the limit, or "
            "search smaller values of generator.width and generator.depth"
        )
    return kept


def _decided(space: SearchSpace, keys: list[str], above: Params) -> Iterator[Params]:
    """Yield what the deciding keys that are left can take, below what was decided before them."""
    if not keys:
        yield above
        return
    key, *left = keys
    if not space.is_drawn(key, above):
        yield from _decided(space, left, above)
        return
    for first, *_ in _by_verdict(space, key).values():
        yield from _decided(space, left, {**above, key: first})


def _about(space: SearchSpace, key: str) -> tuple[Condition, ...]:
    """Return every condition of the space that asks for the value of a key."""
    return tuple(
        c for other in space.search for c in conditions_of(space.search, other) if c.key == key
    )


def _verdict(conditions: tuple[Condition, ...], value: Scalar) -> tuple[bool, ...]:
    return tuple(condition.holds_for(value) for condition in conditions)


def _by_verdict(space: SearchSpace, key: str) -> dict[tuple[bool, ...], tuple[Scalar, ...]]:
    """Group the values of a key by which of the conditions about it hold."""
    conditions = _about(space, key)
    groups: dict[tuple[bool, ...], list[Scalar]] = {}
    for value in possible_values(space.search[key]):
        groups.setdefault(_verdict(conditions, value), []).append(value)
    return {verdict: tuple(values) for verdict, values in groups.items()}


def _n_beside(space: SearchSpace, decided: Params) -> int:
    """Return how many configurations decide as the given one does."""
    others = [k for k in space.search if k not in decided and space.is_drawn(k, decided)]
    return math.prod(
        (
            *(len(alike(space, key, value)) for key, value in decided.items()),
            *(len(possible_values(space.search[key])) for key in others),
        )
    )


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
