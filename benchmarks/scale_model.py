"""What a driver costs as a formula, fitted to measured runs, and how many GPUs one driver feeds.

    processor seconds = s + a * reports + d * reports * slots + b * trials + c * trials^2 / 2

`s` is paid once: joining the cluster, imports. `d` is Tune's: each turn of its loop waits on every
actor. `c` is the sampler's: TPE reads all earlier trials for a new one, so the n-th costs c * n.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

TERMS = ("once", "per report", "per report and slot", "per trial", "per trial and earlier trial")


@dataclass(frozen=True)
class Point:
    """One run: what was done and the processor seconds that the driver took for it."""

    trials: int
    reports: int
    slots: int
    seconds: float

    def terms(self) -> tuple[float, ...]:
        """Return what each coefficient is multiplied with."""
        return (1.0, self.reports, self.reports * self.slots, self.trials, self.trials**2 / 2)


@dataclass(frozen=True)
class CostModel:
    """Seconds of a processor: once, per report, report and slot, trial, pair of trials."""

    s: float
    a: float
    d: float
    b: float
    c: float

    def seconds(self, point: Point) -> float:
        """Return what a run of this kind costs."""
        weights = (self.s, self.a, self.d, self.b, self.c)
        return sum(w * term for w, term in zip(weights, point.terms(), strict=True))

    def per_report_s(self, slots: int, *, reports_per_trial: float, n_trials: int) -> float:
        """Return the cost of a report and of its share of a trial, on average over a study."""
        trial = self.b + self.c * n_trials / 2
        return self.a + self.d * slots + trial / reports_per_trial


def fitted(points: Sequence[Point]) -> CostModel:
    """Fit by least squares of relative errors, no coefficient below 0."""
    terms = np.array([point.terms() for point in points])
    seconds = np.array([point.seconds for point in points])
    found, _ = nnls(terms / seconds[:, None], np.ones(len(points)))
    return CostModel(*(float(value) for value in found))


def errors(points: Sequence[Point]) -> NDArray[np.float64]:
    """Return the relative error for each run of a model that was fitted to the others."""
    found = []
    for left_out, point in enumerate(points):
        others = [*points[:left_out], *points[left_out + 1 :]]
        found.append(fitted(others).seconds(point) / point.seconds - 1)
    return np.array(found)


def busy(slots: int, epoch_s: float, service_s: float) -> float:
    """Return the part of the slots' time that is training, each epoch a report.

    A closed queue: each slot trains `epoch_s`, then waits for the one driver, which takes
    `service_s` for a report; exact for exponential times (mean value analysis), a little too
    pessimistic for steady ones.
    """
    waiting = rate = 0.0
    for n in range(1, slots + 1):
        answer = service_s * (1 + waiting)
        rate = n / (epoch_s + answer)
        waiting = rate * answer
    return rate * epoch_s / slots


def shortest_epoch_s(slots: int, service_s: float, *, wanted: float = 0.95) -> float:
    """Return the seconds of an epoch from which on the slots train `wanted` of their time."""
    low, high = 0.0, 1e5
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if busy(slots, middle, service_s) >= wanted else (middle, high)
    return high
