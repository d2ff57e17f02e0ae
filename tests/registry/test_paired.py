import math

import numpy as np
import pytest
from scipy import stats

from dexsearch.registry.paired import (
    FEWEST_SUBJECTS,
    PairedResult,
    false_alarm_chance,
    judge,
    mean_intervals,
    signed_rank_p,
    smallest_detectable,
)


def judged(differences: list[float], *, margin: float = 0.005) -> PairedResult:
    """Judge one image for each subject."""
    d = np.array(differences)
    return judge([f"s{i}" for i in range(len(d))], 0.5 + d, np.full(len(d), 0.5), margin=margin)


def noisy(mean: float, n: int = 12, spread: float = 0.01) -> list[float]:
    return list(mean + spread * np.random.default_rng(n).normal(size=n))


def test_the_verdict_is_where_the_interval_lies() -> None:
    assert judged(noisy(0.05)).verdict == "better"
    assert judged(noisy(-0.05)).verdict == "worse"
    assert judged(noisy(0.0, spread=0.001)).verdict == "not worse"
    assert judged(noisy(0.0, spread=0.05)).verdict == "inconclusive"


def test_a_wider_margin_turns_inconclusive_into_not_worse() -> None:
    undecided = noisy(0.0, spread=0.05)
    assert judged(undecided, margin=0.0).verdict == "inconclusive"
    assert judged(undecided, margin=0.2).verdict == "not worse"


def test_a_certain_loss_within_the_margin_is_still_worse() -> None:
    assert judged(noisy(-0.002, spread=0.0001)).verdict == "worse"


@pytest.mark.parametrize("n", [1, 2, 3, FEWEST_SUBJECTS - 1])
def test_fewer_than_eight_subjects_are_inconclusive_however_clear(n: int) -> None:
    result = judged(noisy(0.5, n=n, spread=1e-3))
    assert result.verdict == f"inconclusive: {n} subject{'s' if n > 1 else ''}"
    assert (result.low is None) == (n == 1)


def test_eight_subjects_are_enough() -> None:
    assert judged(noisy(0.5, n=8)).verdict == "better"


@pytest.mark.parametrize("margin", [0.0, 0.005])
def test_identical_generators_are_not_worse_with_an_interval_of_zero(margin: float) -> None:
    result = judged([0.0] * 8, margin=margin)
    assert (result.verdict, result.low, result.high) == ("not worse", 0.0, 0.0)
    assert (result.smallest_detectable, result.wilcoxon_p, result.win_rate) == (0.0, 1.0, 0.5)


def test_equal_differences_are_an_interval_of_one_value() -> None:
    a, b = np.full(8, 0.75), np.full(8, 0.5)
    result = judge([str(i) for i in range(8)], a, b)
    assert (result.verdict, result.low, result.high) == ("better", 0.25, 0.25)
    assert judge([str(i) for i in range(8)], b, a).verdict == "worse"


@pytest.mark.parametrize(
    "differences",
    [[0.0] * 7 + [1.0], [0.0] * 7 + [-1.0], [1e-17] + [0.0] * 7, [0.1] * 7 + [0.1 + 1e-16],
     [1.0, -1.0] * 4, [1e-9, *[0.0] * 11], [0.3] * 6 + [0.2] * 2],
)  # fmt: skip
def test_nearly_degenerate_differences_never_give_nan(differences: list[float]) -> None:
    result = judged(differences)
    numbers = [result.low, result.high, result.smallest_detectable, result.wilcoxon_p]
    assert all(number is not None and math.isfinite(number) for number in numbers)
    assert result.low is not None
    assert result.high is not None
    assert result.low <= result.difference <= result.high


def test_one_outlier_among_equals_is_no_evidence() -> None:
    assert judged([0.0] * 11 + [0.5]).verdict != "better"


def test_the_interval_spans_all_three_methods() -> None:
    result = judged(noisy(0.01))
    assert set(result.intervals) == {"bca", "student", "bootstrap_t"}
    assert result.low == min(low for low, _ in result.intervals.values())
    assert result.high == max(high for _, high in result.intervals.values())


def test_the_bca_interval_is_that_of_scipy() -> None:
    d = np.array(noisy(0.01))
    expected = stats.bootstrap((d,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    assert mean_intervals(d)["bca"] == (expected.low, expected.high)


def test_the_student_interval_is_that_of_scipy() -> None:
    d = np.array(noisy(0.01))
    expected = stats.ttest_1samp(d, 0.0).confidence_interval(0.95)
    assert mean_intervals(d)["student"] == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_the_bootstrap_t_interval_is_that_of_a_plain_loop() -> None:
    d = np.array(noisy(0.01))
    drawn = np.random.default_rng(0).integers(0, len(d), size=(9_999, len(d)))
    t = [(d[i].mean() - d.mean()) / stats.sem(d[i]) for i in drawn]
    high, low = np.percentile(t, (2.5, 97.5))
    expected = (d.mean() - low * stats.sem(d), d.mean() - high * stats.sem(d))
    assert mean_intervals(d)["bootstrap_t"] == pytest.approx(expected, rel=1e-9)


def test_swapping_a_and_b_mirrors_everything_but_chance() -> None:
    d = noisy(0.02)
    forth, back = judged(d), judged([-value for value in d])
    assert back.difference == pytest.approx(-forth.difference)
    assert (forth.wins, back.wins) == (back.n_subjects - back.wins, forth.n_subjects - forth.wins)
    assert forth.wilcoxon_p == pytest.approx(back.wilcoxon_p)
    assert forth.low is not None
    assert back.high is not None
    assert back.high == pytest.approx(-forth.low, abs=2e-3)


def test_the_same_scores_give_the_same_interval() -> None:
    assert judged(noisy(0.01)) == judged(noisy(0.01))


def test_subjects_count_and_not_their_images() -> None:
    """Forty images of one subject weigh as much as two of another."""
    subjects = ["many"] * 40 + ["few"] * 2
    a = np.array([0.9] * 40 + [0.1] * 2)
    result = judge(subjects, a, np.full(42, 0.5))
    assert result.difference == pytest.approx(0.0)
    assert (result.n_images, result.n_subjects) == (42, 2)


def test_images_of_a_subject_need_not_lie_together() -> None:
    result = judge(["x", "y", "x"], np.array([1.0, 0.0, 0.0]), np.zeros(3))
    assert (result.mean_a, result.n_subjects, result.wins, result.ties) == (0.25, 2, 1, 1)
    assert result.win_rate == 0.75


def test_the_smallest_detectable_difference_is_found_with_four_fifths_power() -> None:
    """Of Student's test, which it is defined for; checked by simulation."""
    d = np.array(noisy(0.0, n=24, spread=1.0))
    detectable = smallest_detectable(d)
    assert detectable is not None
    rng = np.random.default_rng(5)
    samples = detectable / d.std(ddof=1) + rng.normal(size=(20_000, 24))
    found = (stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.80, abs=0.02)


@pytest.mark.parametrize(("n", "tied", "exact"), [(8, False, True), (50, False, True),
                                                   (51, False, False), (13, True, True),
                                                   (14, True, False)])  # fmt: skip
def test_wilcoxon_says_whether_it_is_exact(n: int, tied: bool, exact: bool) -> None:
    d = np.arange(1.0, n + 1)
    if tied:
        d[1] = d[0]
    p, told = signed_rank_p(d)
    assert told is exact
    if exact:
        assert p == pytest.approx(2 / 2**n)


def test_wilcoxon_leaves_zeros_out() -> None:
    d = np.array([0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert signed_rank_p(d) == (pytest.approx(2 / 2**5), True)


def test_more_looks_make_a_false_alarm_likelier() -> None:
    assert false_alarm_chance(1) == pytest.approx(0.025)
    assert false_alarm_chance(10) == pytest.approx(0.2237, abs=1e-4)


@pytest.mark.parametrize("margin", [-0.1, math.nan, math.inf])
def test_a_margin_that_is_none_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        judged([0.1, 0.2], margin=margin)


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="got 0 subjects"):
        judge([], np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="got 2 subjects for 3"):
        judge(["x", "y"], np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="NaN"):
        judge(["x"], np.array([np.nan]), np.zeros(1))
