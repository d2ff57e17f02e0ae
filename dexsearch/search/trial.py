"""One trial as a worker sees it: an assignment in, one report per epoch out.

Knows neither Ray nor Optuna. An exception becomes a report that says what went wrong, so that a
trial that raises is over, and only a lost process is started again.
"""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dexsearch.errors import DataError

Record = dict[str, Any]
FailureKind = Literal["numeric", "memory", "data", "exception", "configuration", "infrastructure"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What to train: `config` is a `TrialConfig` as JSON, `checkpoints` the trial's folder."""

    number: int
    config: dict[str, Any]
    epochs: int
    checkpoints: Path


TrialFunction = Callable[[Assignment], Iterator[Record]]
"""Yields one record per epoch, with `epoch` from 1; continues from its own checkpoints."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial failed; `last_lines` is the end of the traceback."""

    kind: FailureKind
    reason: str
    last_lines: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """One step of a trial: the record of an epoch, or a failure, which is its last report."""

    number: int
    record: Record | None = None
    failure: Failure | None = None
    last: bool = False


class TrialStepper:
    """Runs one assignment after the other, one epoch per `step`."""

    def __init__(self, function: TrialFunction) -> None:
        self._function = function
        self._assignment: Assignment | None = None
        self._records: Iterator[Record] | None = None

    def begin(self, assignment: Assignment) -> None:
        """Close the trial at hand and take up another one; nothing runs before `step`."""
        self.close()
        self._assignment = assignment

    def step(self) -> Report:
        """Train one epoch of the trial at hand; `report.last` says that it is over."""
        if self._assignment is None:
            raise ValueError("step() before begin(): no trial is at hand")
        assignment = self._assignment
        try:
            if self._records is None:
                self._records = self._function(assignment)
            record = next(self._records, None)
        except Exception as error:  # every failure of a trial is reported, none is lost
            self.close()
            return Report(assignment.number, failure=failure_of(error), last=True)
        if record is None:
            self.close()
            reason = f"training ended before epoch {assignment.epochs}"
            return Report(assignment.number, failure=Failure("exception", reason), last=True)
        return Report(assignment.number, record=record, last=record["epoch"] >= assignment.epochs)

    def close(self) -> None:
        """Stop the trial at hand; what it wrote stays."""
        records, self._records, self._assignment = self._records, None, None
        close = getattr(records, "close", None)
        if close is not None:
            close()


def failure_of(error: Exception) -> Failure:
    """Classify an exception that ended a trial."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    lines = traceback.format_exception(error)
    last_lines = "".join(lines)[-4000:]
    kind: FailureKind = "exception"
    if isinstance(error, DataError):
        kind = "data"
    elif type(error).__name__ == "TrainingDiverged" or isinstance(error, FloatingPointError):
        kind = "numeric"
    elif isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        kind = "memory"
    return Failure(kind, reason, last_lines)
