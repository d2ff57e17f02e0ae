"""A search on recorded curves in virtual time: what another sampler or pruner would have done.

Sampler, pruner, immune trials and the study are those of a real search (`OptunaStudy`); only the
training is read from a table. W workers train at once: the heap holds the end of the epoch that
each of them trains, so verdicts come in the order in which a real search would ask for them.
"""

import heapq
import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

import optuna
from optuna.storages import InMemoryStorage

from dexsearch.config.space import SearchSpace
from dexsearch.search.algorithms import build_pruner
from dexsearch.search.curves import CurveTable
from dexsearch.search.optuna_study import OptunaStudy, end_trial
from dexsearch.search.space import is_immune
from dexsearch.search.table_sampler import TableSampler, TriedRows

Verdict = Literal["go on", "stop", "spared"]
"""`spared`: the pruner wanted an immune trial stopped; it goes on and is not judged again."""


class Contender(Protocol):
    """A search: it proposes trials and decides which of them go on."""

    def begin(self) -> tuple[int, int]:
        """Begin a trial; return its number and the index of its row, new each time."""
        ...

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        """Take the value of an epoch that is not the last one; end the trial if it stops."""
        ...

    def complete(self, number: int, epoch: int, value: float) -> None:
        """Take the value of the last epoch, which ends the trial."""
        ...


@dataclass(frozen=True, slots=True)
class Conditions:
    """What every contender of a comparison is given."""

    table: CurveTable
    objective: str = "val_ssim"
    workers: int = 8
    n_trials: int | None = None
    """Trials to begin; None: every row of the table."""

    unit_cost: bool = False
    """Whether every epoch takes one unit of time, not the seconds that were recorded."""

    @property
    def trials(self) -> int:
        """Trials to begin, at most one for each row."""
        n_rows = len(self.table.rows)
        return n_rows if self.n_trials is None else min(n_rows, self.n_trials)


@dataclass(frozen=True, slots=True)
class Replay:
    """How one search went; epochs are counted over all workers, when they end."""

    epochs: tuple[int, ...]
    """Epochs spent when each complete trial ended, in that order."""

    best: tuple[float, ...]
    """Best final value of the complete trials up to then; a trial under way does not count."""

    epochs_all: int
    virtual_s: float
    n_pruned: int
    n_condemned: int
    """Trials that the pruner wanted to stop: the pruned ones and those spared as immune."""

    n_best_tenth: int
    """Trials begun that belong to the best tenth of the table."""

    n_false: int
    """Those of the best tenth that the pruner wanted to stop."""

    def epochs_until(self, value: float) -> float:
        """Return the epochs spent till a complete trial has at least `value`; inf if never."""
        reached = (e for e, best in zip(self.epochs, self.best, strict=True) if best >= value)
        return next(reached, math.inf)

    def best_after(self, epochs: int) -> float:
        """Return the best value of the trials complete after so many epochs; -inf if none is."""
        return max(
            (best for e, best in zip(self.epochs, self.best, strict=True) if e <= epochs),
            default=-math.inf,
        )


@dataclass(slots=True)
class _Clock:
    """Ends of the epochs under way; the first that began is the first among equals."""

    heap: list[tuple[float, int, int, int]] = field(default_factory=list)
    order: int = 0
    now: float = 0.0

    def start(self, number: int, epoch: int, seconds: float) -> None:
        heapq.heappush(self.heap, (self.now + seconds, self.order, number, epoch))
        self.order += 1

    def next_end(self) -> tuple[int, int]:
        self.now, _, number, epoch = heapq.heappop(self.heap)
        return number, epoch


def replay(contender: Contender, conditions: Conditions) -> Replay:
    """Run one search to its end on recorded curves."""
    table, objective = conditions.table, conditions.objective
    curves = [row.curves[objective] for row in table.rows]
    seconds = [1.0 if conditions.unit_cost else row.seconds for row in table.rows]
    clock, row_of, spent = _Clock(), dict[int, int](), 0
    condemned: dict[int, bool] = {}
    found: list[tuple[int, float]] = []

    def begin() -> None:
        if len(row_of) < conditions.trials:
            number, index = contender.begin()
            row_of[number] = index
            clock.start(number, 1, seconds[index])

    for _ in range(conditions.workers):
        begin()
    while clock.heap:
        number, epoch = clock.next_end()
        index = row_of[number]
        value = curves[index][epoch - 1]
        spent += 1
        if epoch == table.epochs:
            contender.complete(number, epoch, value)
            found.append((spent, max(value, found[-1][1] if found else value)))
            begin()
            continue
        verdict = contender.judge(number, epoch, value)
        if verdict != "go on":
            condemned[number] = verdict == "stop"
        if verdict == "stop":
            begin()
        else:
            clock.start(number, epoch + 1, seconds[index])
    good = best_tenth(table, objective)
    return Replay(
        epochs=tuple(epochs for epochs, _ in found),
        best=tuple(value for _, value in found),
        epochs_all=spent,
        virtual_s=clock.now,
        n_pruned=sum(condemned.values()),
        n_condemned=len(condemned),
        n_best_tenth=sum(index in good for index in row_of.values()),
        n_false=sum(row_of[number] in good for number in condemned),
    )


def best_tenth(table: CurveTable, objective: str) -> frozenset[int]:
    """Return the indices of the rows with the best final values, a tenth rounded up."""
    finals = [table.final(row, objective) for row in table.rows]
    ranked = sorted(range(len(finals)), key=lambda index: -finals[index])
    return frozenset(ranked[: math.ceil(len(finals) / 10)])


class StudyContender:
    """The search of dexsearch: study, pruner and immune trials as its driver has them."""

    def __init__(self, table: CurveTable, space: SearchSpace) -> None:
        self._space = space
        self._rows = rows = TriedRows(table, space)
        study = optuna.create_study(
            storage=InMemoryStorage(),
            study_name=f"replay-{space.sampler.seed}",  # hyperband deals out brackets by the name
            direction="maximize",
            pruner=build_pruner(space.pruner, epochs=space.epochs),
        )
        self._study = OptunaStudy(study, space, around=lambda inner: TableSampler(inner, rows))
        self._values: dict[int, dict[int, float]] = {}
        self._spared: set[int] = set()
        self._prunes = space.pruner.kind != "none"

    def begin(self) -> tuple[int, int]:
        """Ask the study for a trial."""
        number, _ = self._study.ask()
        self._values[number] = {}
        return number, self._rows.row_of[number]

    def judge(self, number: int, epoch: int, value: float) -> Verdict:
        """Report an epoch and ask the pruner, as the driver does."""
        self._take(number, epoch, value)
        if not self._prunes or number in self._spared or not self._study.should_prune(number):
            return "go on"
        if is_immune(self._space, number):
            self._spared.add(number)
            return "spared"
        end_trial(
            self._study, number, "pruned", self._values.pop(number), failure=None, spared=False
        )
        return "stop"

    def complete(self, number: int, epoch: int, value: float) -> None:
        """Report the last epoch and tell the study the value."""
        self._take(number, epoch, value)
        spared = number in self._spared
        end_trial(
            self._study, number, "complete", self._values.pop(number), failure=None, spared=spared
        )

    def _take(self, number: int, epoch: int, value: float) -> None:
        self._values[number][epoch] = value
        if number not in self._spared:
            self._study.report(number, epoch, value)
