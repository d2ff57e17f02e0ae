"""Paired evidence: which of two generators is better on the same images? Numbers only.

Unit      the subject. Images of one subject are alike, so their differences are averaged first;
          to treat them as independent makes three times as many false alarms as promised.
Interval  95 %, of the mean difference over subjects: from the lowest to the highest end of three,

              BCa          bias-corrected and accelerated bootstrap, Efron 1987,
                           doi:10.1080/01621459.1987.10478410
              Student      t with n - 1 degrees of freedom
              bootstrap-t  the studentised bootstrap, Hall 1988, doi:10.1214/aos/1176350933

          BCa alone says "better" of equals in 5 to 9 of 100 looks at 8 subjects, because it does
          not know how uncertain the spread of so few is. Student is right there as long as the
          differences spread evenly; where a few subjects are much worse than the rest, the
          bootstrap-t makes fewer mistakes than either. All three have to agree.
Verdict   better: the interval is above 0; worse: below 0; not worse: above -margin; otherwise
          inconclusive, and always so with fewer than 8 subjects.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

MARGIN = 0.005
"""SSIM that a generator may lose and still be called not worse."""
FEWEST_SUBJECTS = 8
CONFIDENCE = 0.95
POWER = 0.80
RESAMPLES, SEED = 9_999, 0
_EXACT_WITH_TIES = 13
"""Up to so many differences, SciPy goes through every assignment of signs."""
_EXACT = 50

BETTER, WORSE, NOT_WORSE, INCONCLUSIVE = "better", "worse", "not worse", "inconclusive"
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PairedResult:
    """What the scores of two generators A and B on the same images say; A - B throughout."""

    verdict: str
    """`better`, `worse`, `not worse`, `inconclusive`, or `inconclusive: N subjects`."""
    n_subjects: int
    n_images: int
    mean_a: float
    """Mean over subjects of each subject's mean score."""
    mean_b: float
    difference: float
    low: float | None
    """Ends of the 95 % interval of the difference; None with one subject."""
    high: float | None
    intervals: dict[str, tuple[float, float]]
    """What it spans: those of `bca`, `student` and `bootstrap_t`."""
    margin: float
    smallest_detectable: float | None
    """True difference that Student's test would find in 80 of 100 such comparisons, and the
    verdict, which asks three intervals, in somewhat fewer; None with one subject."""
    wilcoxon_p: float
    """Two-sided, of the signed ranks over subjects; 1 where no subject differs."""
    wilcoxon_exact: bool
    wins: int
    """Subjects for which A scores higher."""
    ties: int

    @property
    def win_rate(self) -> float:
        """Share of the subjects for which A scores higher; a tie counts half."""
        return (self.wins + self.ties / 2) / self.n_subjects


def judge(
    subjects: Sequence[str], a: Floats, b: Floats, *, margin: float = MARGIN
) -> PairedResult:
    """Compare two generators by their scores on the same images, high being good.

    The same scores give the same result: the resamples are drawn from a fixed seed.

    Args:
        subjects: whose image it is, by image.
        a: score of the first generator, by image.
        b: score of the second one.
        margin: loss that still counts as not worse, at least 0.

    Raises:
        ValueError: without images, on different lengths, a score that is not finite, or a margin
            that is negative.
    """
    if not 0 <= margin < math.inf:
        raise ValueError(f"got margin={margin!r}; expected a number of at least 0")
    if len(subjects) == 0 or not len(subjects) == len(a) == len(b):
        raise ValueError(f"got {len(subjects)} subjects for {len(a)} and {len(b)} scores")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("got scores that are NaN or infinite")
    mean_a, mean_b = subject_means(subjects, a), subject_means(subjects, b)
    differences = subject_means(subjects, a - b)  # exactly 0 where all scores are equal
    intervals = mean_intervals(differences)
    low = min((ends[0] for ends in intervals.values()), default=None)
    high = max((ends[1] for ends in intervals.values()), default=None)
    p_value, exact = signed_rank_p(differences)
    return PairedResult(
        verdict=_verdict(low, high, n_subjects=len(differences), margin=margin),
        n_subjects=len(differences),
        n_images=len(a),
        mean_a=float(mean_a.mean()),
        mean_b=float(mean_b.mean()),
        difference=float(differences.mean()),
        low=low,
        high=high,
        intervals=intervals,
        margin=margin,
        smallest_detectable=smallest_detectable(differences),
        wilcoxon_p=p_value,
        wilcoxon_exact=exact,
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
    )


def subject_means(subjects: Sequence[str], values: Floats) -> Floats:
    """Return the mean of each subject's images, in the order in which subjects appear first."""
    places = {name: place for place, name in enumerate(dict.fromkeys(subjects))}
    index = np.array([places[name] for name in subjects])
    return np.bincount(index, weights=values) / np.bincount(index)


def mean_intervals(differences: Floats) -> dict[str, tuple[float, float]]:
    """Return the three 95 % intervals of the mean, see the module; none for a single difference.

    Equal differences leave nothing to estimate: every interval is their value.
    """
    if len(differences) < 2:
        return {}
    methods = {"bca": _bca, "student": _student, "bootstrap_t": _bootstrap_t}
    if np.ptp(differences) == 0:
        return dict.fromkeys(methods, (float(differences[0]), float(differences[0])))
    return {name: interval(differences) for name, interval in methods.items()}


def smallest_detectable(differences: Floats) -> float | None:
    """Return the true mean difference that is found with a power of 80 %, two-sided at 5 %.

    `(t_{.975, n-1} + t_{.8, n-1}) sd / sqrt(n)`, sd being that of the differences at hand; None
    for a single one. The interval is wider than Student's, so the power at this difference was
    found to be 70 % with 8 subjects and 77 % with 24; at twice the difference 98 % and more.

    Source: Bloom 1995, minimum detectable effects, doi:10.1177/0193841X9501900504.
    """
    n = len(differences)
    if n < 2:
        return None
    quantiles = stats.t.ppf([(1 + CONFIDENCE) / 2, POWER], n - 1)
    return float(quantiles.sum() * differences.std(ddof=1) / math.sqrt(n))


def signed_rank_p(differences: Floats) -> tuple[float, bool]:
    """Return Wilcoxon's two-sided p-value, and whether it is exact; zeros are left out.

    Exact up to 50 differences, or up to 13 where some are of the same size.

    Source: Wilcoxon 1945, doi:10.2307/3001968.
    """
    moved = differences[differences != 0]
    if moved.size == 0:
        return 1.0, True
    tied = len(np.unique(np.abs(moved))) < len(moved)
    result = stats.wilcoxon(moved)
    return float(result.pvalue), len(moved) <= (_EXACT_WITH_TIES if tied else _EXACT)


def false_alarm_chance(n_looks: int) -> float:
    """Return the chance that one of so many looks at equals says better, were they independent.

    Each does with a chance of 2.5 %, half of what a two-sided interval leaves out.
    """
    return 1 - (1 - (1 - CONFIDENCE) / 2) ** n_looks


def _verdict(low: float | None, high: float | None, *, n_subjects: int, margin: float) -> str:
    if low is None or high is None or n_subjects < FEWEST_SUBJECTS:
        return f"{INCONCLUSIVE}: {n_subjects} subject{'s' if n_subjects > 1 else ''}"
    if low > 0:
        return BETTER
    if high < 0:
        return WORSE
    return NOT_WORSE if low > -margin or low == 0 else INCONCLUSIVE


def _bca(differences: Floats) -> tuple[float, float]:
    """Return the BCa interval; where SciPy finds none, that of Student."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # told apart below
        found = stats.bootstrap(
            (differences,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="BCa",
            rng=np.random.default_rng(SEED),
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else _student(differences)


def _student(differences: Floats) -> tuple[float, float]:
    n, mean = len(differences), float(differences.mean())
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * _standard_error(differences)
    return mean - reach, mean + reach


def _bootstrap_t(differences: Floats) -> tuple[float, float]:
    """Return the studentised interval; resamples of one value have no spread and are left out."""
    n, mean = len(differences), float(differences.mean())
    drawn = np.random.default_rng(SEED).integers(0, n, size=(RESAMPLES, n))
    resampled = differences[drawn]
    spread = resampled.std(axis=1, ddof=1) / math.sqrt(n)
    usable = np.ptp(resampled, axis=1) > 0
    t = (resampled.mean(axis=1)[usable] - mean) / spread[usable]
    tail = 100 * (1 - CONFIDENCE) / 2
    t_low, t_high = (float(value) for value in np.percentile(t, (tail, 100 - tail)))
    error = _standard_error(differences)
    return mean - t_high * error, mean - t_low * error


def _standard_error(differences: Floats) -> float:
    return float(differences.std(ddof=1)) / math.sqrt(len(differences))
