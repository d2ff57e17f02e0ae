"""Intervals and ranks for small samples: how sure may one be of a rate or a correlation?

Nothing but numpy, and that only when a correlation is asked for: `status` has to be instant.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95
FEWEST_FOR_INTERVAL = 10
"""Pairs from which on the bootstrap of a correlation is worth printing."""

_N_BOOTSTRAPS = 1000
_N_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a quantity lies with 95 % confidence, both ends included."""

    low: float
    high: float


def rate_interval(n_hits: int, n: int) -> Interval:
    """Return the exact (Clopper-Pearson) 95 % interval of a rate: `n_hits` of `n`.

    Each end is the rate at which what was seen, or something more extreme, still happens in
    2.5 % of all samples; so it is never too narrow, also where nothing was hit: 0 of 8 gives
    0 to 0.369. Nothing seen at all gives 0 to 1.

    Raises:
        ValueError: unless 0 <= n_hits <= n.

    Source: Biometrika 26(4):404-413 (1934), doi:10.1093/biomet/26.4.404.
    """
    if not 0 <= n_hits <= n:
        raise ValueError(f"got {n_hits} hits of {n}; expected 0 <= hits <= n")
    tail = (1 - LEVEL) / 2
    low, high = 0.0, 1.0
    if n_hits > 0:
        low = _falling_root(lambda p: tail - (1 - _at_most(n_hits - 1, n, p)))
    if n_hits < n:
        high = _falling_root(lambda p: _at_most(n_hits, n, p) - tail)
    return Interval(low, high)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation; equal values share their mean rank.

    None where it is not defined: under three pairs, or a side whose values are all equal.
    """
    if len(first) < 3:
        return None
    return _correlate(_ranks(_array(first)), _ranks(_array(second)))


def rank_correlation_interval(
    first: Sequence[float], second: Sequence[float], *, seed: int
) -> Interval | None:
    """Return the 95 % bootstrap interval (percentiles over resampled pairs) of the correlation.

    Resamples in which one side is constant have no correlation and are left out. None under ten
    pairs, where a bootstrap is narrower than it should be, or if fewer than half can be used.
    """
    import numpy as np  # noqa: PLC0415

    n = len(first)
    if n < FEWEST_FOR_INTERVAL:
        return None
    rng = np.random.default_rng(seed)
    x, y = _array(first), _array(second)
    found = []
    for _ in range(_N_BOOTSTRAPS):
        drawn = rng.integers(n, size=n)
        rho = _correlate(_ranks(x[drawn]), _ranks(y[drawn]))
        if rho is not None:
            found.append(rho)
    if 2 * len(found) < _N_BOOTSTRAPS:
        return None
    low, high = np.quantile(found, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)).tolist()
    return Interval(low, high)


def _at_most(n_hits: int, n: int, rate: float) -> float:
    """Return the probability of at most `n_hits` hits in `n` trials."""
    return math.fsum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(n_hits + 1))


def _falling_root(function: Callable[[float], float]) -> float:
    """Return where a falling function on 0..1 crosses zero."""
    low, high = 0.0, 1.0
    for _ in range(_N_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def _array(values: Sequence[float]) -> "NDArray[Any]":
    import numpy as np  # noqa: PLC0415

    return np.asarray(values, dtype=np.float64)


def _ranks(values: "NDArray[Any]") -> "NDArray[Any]":
    """Return mean ranks, twice over and shifted, which a correlation does not see."""
    import numpy as np  # noqa: PLC0415

    ordered = np.sort(values)
    return np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")


def _correlate(first: "NDArray[Any]", second: "NDArray[Any]") -> float | None:
    x, y = first - first.mean(), second - second.mean()
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / scale if scale > 0 else None
