"""Intervals and ranks against scipy, which the package itself does not need for them."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from dexsearch.search.statistics import (
    Interval,
    rank_correlation,
    rank_correlation_interval,
    rate_interval,
)


def test_eight_without_a_hit_may_hide_37_percent() -> None:
    """Closed form where nothing is hit: 1 - 0.025 ** (1 / n)."""
    assert rate_interval(0, 8).low == 0
    assert rate_interval(0, 8).high == pytest.approx(1 - 0.025 ** (1 / 8), abs=1e-12)
    assert f"{rate_interval(0, 8).high:.2f}" == "0.37"


@pytest.mark.parametrize(("n_hits", "n"), [(0, 20), (1, 8), (3, 20), (20, 20), (17, 64), (1, 1)])
def test_a_rate_has_the_exact_interval_of_scipy(n_hits: int, n: int) -> None:
    exact = stats.binomtest(n_hits, n).proportion_ci(0.95, method="exact")
    found = rate_interval(n_hits, n)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_nothing_seen_says_nothing() -> None:
    assert rate_interval(0, 0) == Interval(0.0, 1.0)


@pytest.mark.parametrize(("n_hits", "n"), [(-1, 4), (5, 4)])
def test_more_hits_than_trials_are_refused(n_hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= hits <= n"):
        rate_interval(n_hits, n)


@pytest.mark.parametrize("decimals", [1, 6])
def test_the_rank_correlation_is_that_of_scipy_with_ties_and_without(decimals: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=40).round(decimals)
    y = (x + rng.normal(size=40)).round(decimals)
    assert rank_correlation(x.tolist(), y.tolist()) == pytest.approx(stats.spearmanr(x, y)[0])


def test_only_the_order_counts() -> None:
    x = [0.1, 0.4, 0.2, 0.9]
    assert rank_correlation(x, [math.exp(9 * v) for v in x]) == pytest.approx(1)
    assert rank_correlation(x, [-v for v in x]) == pytest.approx(-1)


@pytest.mark.parametrize("pair", [([0.5, 0.5, 0.5], [1.0, 2.0, 3.0]), ([1.0, 2.0], [1.0, 2.0])])
def test_constant_or_too_few_values_have_no_correlation(
    pair: tuple[list[float], list[float]],
) -> None:
    assert rank_correlation(*pair) is None


def test_the_bootstrap_repeats_and_brackets_the_correlation() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=60)
    y = x + rng.normal(size=60)
    found = rank_correlation_interval(x.tolist(), y.tolist(), seed=3)
    assert found == rank_correlation_interval(x.tolist(), y.tolist(), seed=3)
    assert found is not None
    reference = stats.bootstrap(
        (x, y), lambda a, b: stats.spearmanr(a, b)[0], paired=True, vectorized=False,
        method="percentile", n_resamples=1000, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert (found.low, found.high) == pytest.approx(tuple(reference), abs=0.04)


def test_under_ten_pairs_there_is_no_interval() -> None:
    nine = [float(n) for n in range(9)]
    assert rank_correlation_interval(nine, nine, seed=0) is None


def test_the_interval_of_a_rate_needs_not_even_numpy() -> None:
    script = (
        "import sys; from dexsearch.search.statistics import rate_interval; rate_interval(1, 9)\n"
        "assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
