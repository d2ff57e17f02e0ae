"""Any sampler, kept to the configurations that were recorded.

A replay can only try what has a recorded curve. So the wrapped sampler proposes as it would in a
real search, and the nearest recorded configuration that was not tried yet is taken instead. The
study is told the parameters of that configuration, never the proposal: what it learns is true.

A random sampler needs no proposal: it takes any configuration left, each with the same chance.
(The nearest one to a random point would favour those that have few neighbours.)
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from dexsearch.config.space import Scalar, SearchSpace
from dexsearch.errors import DataError
from dexsearch.search.curves import CurveRow, CurveTable
from dexsearch.search.space import derived_seed, distributions, suggest

ABSENCE = 1.0
"""Squared distance where only one of two configurations has a conditional parameter: that of the
two ends of its range."""


class TriedRows:
    """The rows of a table, those that a study has tried, and the row of each of its trials."""

    def __init__(self, table: CurveTable, space: SearchSpace) -> None:
        self.rows: Sequence[CurveRow] = table.rows
        self.space = space
        self.distributions = distributions(space)
        self.row_of: dict[int, int] = {}
        """Index of the row that each trial was given, by the trial's number."""

        self._left = np.ones(len(table.rows), dtype=bool)
        try:
            self._places = np.array([self._place(row.params) for row in table.rows])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"a row of the table is not of the space in its header: {error}"
            ) from None
        self._is_category = np.array(
            [isinstance(d, CategoricalDistribution) for d in self.distributions.values()]
        )

    @property
    def n_left(self) -> int:
        """How many rows no trial has been given yet."""
        return int(self._left.sum())

    def take_nearest(self, number: int, proposal: Mapping[str, Scalar]) -> CurveRow:
        """Give a trial the row left that is nearest to a proposal; the first of several."""
        return self._take(number, int(np.argmin(self._distances(proposal))))

    def take_any(self, number: int, seed: int) -> CurveRow:
        """Give a trial a row left, each with the same chance."""
        left = np.flatnonzero(self._left)
        return self._take(number, int(np.random.default_rng(seed).choice(left)))

    def _take(self, number: int, index: int) -> CurveRow:
        self._left[index] = False
        self.row_of[number] = index
        return self.rows[index]

    def _place(self, params: Mapping[str, Scalar]) -> list[float]:
        """Return a number per key: 0..1 along its range, the index of a choice, NaN if absent."""
        return [
            _along(distribution, params[key]) if key in params else math.nan
            for key, distribution in self.distributions.items()
        ]

    def _distances(self, proposal: Mapping[str, Scalar]) -> NDArray[np.float64]:
        """Return the squared distance to each row; infinite for those that were tried."""
        apart = self._places - np.array(self._place(proposal))
        squared = np.where(self._is_category, apart != 0, apart**2)
        only_one = np.isnan(self._places) != np.isnan(self._place(proposal))
        both_lack = np.isnan(apart) & ~only_one
        squared = np.where(only_one, ABSENCE, np.where(both_lack, 0.0, squared))
        total = squared.sum(axis=1)
        return np.where(self._left, total, np.inf)


class TableSampler(BaseSampler):
    """Hands out recorded rows; deterministic wherever the wrapped sampler is."""

    def __init__(self, inner: BaseSampler, rows: TriedRows) -> None:
        self._inner = inner
        self._rows = rows

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return every key: a row decides on all of them at once."""
        return self._rows.distributions

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """Ask the wrapped sampler for a whole proposal; return the row that is taken for it."""
        if isinstance(self._inner, RandomSampler):
            seed = derived_seed(self._rows.space.sampler.seed, "row", trial.number)
            return dict(self._rows.take_any(trial.number, seed).params)
        proposal = suggest(_Proposal(self._inner, study, trial), self._rows.space)  # type: ignore[arg-type]
        return dict(self._rows.take_nearest(trial.number, proposal).params)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:  # noqa: ANN401  (Optuna's signature)
        """Refuse: a key that the row lacks although the space draws it.

        Raises:
            DataError: always; the table was recorded with another space.
        """
        row = self._rows.rows[self._rows.row_of[trial.number]]
        raise DataError(
            f"configuration {row.number} has no {param_name!r}, which its space draws, or a value "
            "out of range: the rows of this table are not of the space in its header",
            hint="record the table again",
        )

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Tell the wrapped sampler."""
        self._inner.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Tell the wrapped sampler."""
        self._inner.after_trial(study, trial, state, values)


class _Proposal:
    """Looks like a trial to `suggest`; what it draws stays out of the study."""

    def __init__(self, sampler: BaseSampler, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler = sampler
        self._study = study
        self._trial = trial
        space = sampler.infer_relative_search_space(study, trial)
        self._relative = sampler.sample_relative(study, trial, space)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return int(self._draw(name, optuna.distributions.IntDistribution(low, high, log=log)))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._draw(name, optuna.distributions.FloatDistribution(low, high, log=log)))

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Any:  # noqa: ANN401
        return self._draw(name, CategoricalDistribution(choices))

    def _draw(self, name: str, distribution: BaseDistribution) -> Any:  # noqa: ANN401
        if name in self._relative:
            return self._relative[name]
        return self._sampler.sample_independent(self._study, self._trial, name, distribution)


def _along(distribution: BaseDistribution, value: Scalar) -> float:
    """Return where a value lies in its range, 0 to 1, or the index of a choice."""
    inside = distribution.to_internal_repr(value)
    if isinstance(distribution, CategoricalDistribution):
        return float(inside)
    low, high = float(distribution.low), float(distribution.high)  # type: ignore[attr-defined]
    if distribution.log:  # type: ignore[attr-defined]
        low, high, inside = math.log(low), math.log(high), math.log(inside)
    return (inside - low) / (high - low)
