"""One trial as a worker sees it: an assignment in, a report every second or less often out.

Knows neither Ray nor Optuna. An exception becomes a report that says what went wrong, so that a
trial that raises is over, and only a lost process is started again.
"""

import errno
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from dexsearch.errors import DataError
from dexsearch.search.remarks import remarks_of_training
from dexsearch.training.out_of_memory import tells_of_memory
from dexsearch.training.saving import TRAINED, heard_saves

UNDECIDED_S = 1.0
"""How long a worker trains between two reports while no verdict can fall."""

DECIDED_S = 0.5
"""The same afterwards: what a verdict on the first of the epochs may come too late."""

Record = dict[str, Any]
FailureKind = Literal[
    "numeric",
    "memory",
    "data",
    "disk",
    "storage",
    "denied",
    "exception",
    "configuration",
    "infrastructure",
    "superseded",
    "unfit",
]
"""What went wrong, which decides what is done about it: see retries.py."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_SILENT_STORAGE = (
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.ENETDOWN, errno.ENETUNREACH,
)  # fmt: skip
_DISK_WORDS = ("no space left", "quota exceeded", "storage full")


@dataclass(frozen=True, slots=True)
class Assignment:
    """What to train: `config` is a `TrialConfig` as JSON."""

    number: int
    config: dict[str, Any]
    epochs: int
    checkpoints: str
    """The trial's own folder or URI."""

    decide_from: int = 1
    """The first epoch at which the trial may be stopped; it is reported without delay."""

    gpu_share: float = 1.0
    """Part of a GPU's memory that the trial may take, where it has a GPU."""

    attempt: int = 0
    """How often the trial was handed out before; its reports carry it back."""

    token: int = 0
    """The fencing token of the lease under which it was handed out; 0 without a lease."""


TrialFunction = Callable[[Assignment], Iterator[Record]]
"""Yields one record per epoch, with `epoch` from 1; continues from its own checkpoints."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial failed; `last_lines` is the end of the traceback."""

    kind: FailureKind
    reason: str
    last_lines: str = ""
    token: int = 0
    """Where it was superseded: the token of whoever writes its checkpoints now."""
    is_trained: bool = False
    """Whether all that failed is to save the last epoch."""


@dataclass(frozen=True, slots=True)
class Report:
    """One step of a trial: the records of its epochs, then the failure that ended it, if any."""

    number: int
    records: tuple[Record, ...] = ()
    failure: Failure | None = None
    last: bool = False
    attempt: int = 0
    """The assignment's; a report of an earlier attempt comes from a process taken for lost."""
    remarks: tuple[str, ...] = ()
    """What training warned of: a checkpoint that it passed over, for example."""
    saved: bool = False
    """Whether a checkpoint was stored since the report before."""
    node: str | None = None
    """Where it was trained, by Ray's identifier; added by the driver's side, None if unknown."""


class TrialStepper:
    """Runs one assignment after the other, one or several epochs per `step`.

    A report is a round trip to the driver, which costs some milliseconds, so short epochs are
    reported together. That changes no verdict: the driver judges each epoch as if it came alone
    and drops what was trained after the last one.
    """

    def __init__(
        self,
        function: TrialFunction,
        *,
        patience: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare for assignments.

        Args:
            function: trains.
            patience: factor of `UNDECIDED_S` and `DECIDED_S`; 0 reports every epoch alone.
            clock: in seconds.
        """
        self._function = function
        self._patience = patience
        self._clock = clock
        self._assignment: Assignment | None = None
        self._records: Iterator[Record] | None = None

    def begin(self, assignment: Assignment) -> None:
        """Close the trial at hand and take up another one; nothing runs before `step`."""
        self.close()
        self._assignment = assignment

    def step(self) -> Report:
        """Train the trial at hand until a report is due; `report.last` says that it is over."""
        with remarks_of_training() as remarks, heard_saves() as saves:
            report = self._step()
        return replace(report, remarks=tuple(remarks), saved=bool(saves))

    def _step(self) -> Report:
        if self._assignment is None:
            raise ValueError("step() before begin(): no trial is at hand")
        assignment, begin = self._assignment, self._clock()
        done: list[Record] = []
        try:
            while not done or not self._is_due(assignment, done, self._clock() - begin):
                record = self._next(assignment)
                if record is None:
                    self.close()
                    reason = f"training ended before epoch {assignment.epochs}"
                    return _failed(assignment, done, Failure("exception", reason))
                done.append(record)
        except Exception as error:  # every failure of a trial is reported, none is lost
            self.close()
            return _failed(assignment, done, failure_of(error))
        return Report(
            assignment.number,
            tuple(done),
            last=done[-1]["epoch"] >= assignment.epochs,
            attempt=assignment.attempt,
        )

    def _next(self, assignment: Assignment) -> Record | None:
        if self._records is None:
            self._records = self._function(assignment)
        return next(self._records, None)

    def _is_due(self, assignment: Assignment, done: list[Record], elapsed_s: float) -> bool:
        """Tell whether to report now: a verdict may fall, or another epoch would take too long."""
        epoch = done[-1]["epoch"]
        if epoch >= assignment.epochs or epoch == assignment.decide_from:
            return True
        longest = UNDECIDED_S if epoch < assignment.decide_from else DECIDED_S
        return elapsed_s * (len(done) + 1) / len(done) >= longest * self._patience

    def close(self) -> None:
        """Stop the trial at hand; what it wrote stays."""
        records, self._records, self._assignment = self._records, None, None
        close = getattr(records, "close", None)
        if close is not None:
            close()


def _failed(assignment: Assignment, done: list[Record], failure: Failure) -> Report:
    return Report(
        assignment.number, tuple(done), failure=failure, last=True, attempt=assignment.attempt
    )


def failure_of(error: Exception) -> Failure:
    """Classify an exception that ended a trial; its notes belong to the reason."""
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    reason = "; ".join([reason, *getattr(error, "__notes__", ())])
    lines = traceback.format_exception(error)
    last_lines = "".join(lines)[-4000:]
    kind = _kind_of(error)
    return Failure(
        kind, reason, last_lines, getattr(error, "token", 0) if kind == "superseded" else 0,
        is_trained=TRAINED in getattr(error, "__notes__", ()),
    )  # fmt: skip


def _kind_of(error: Exception) -> FailureKind:
    if isinstance(error, DataError):
        return "data"
    if type(error).__name__ == "SupersededError":
        return "superseded"
    if type(error).__name__ == "StorageDeniedError":
        return "denied"
    if type(error).__name__ == "TrainingDiverged" or isinstance(error, FloatingPointError):
        return "numeric"
    if is_short_of_disk(error):
        return "disk"
    if _is_of_silent_storage(error):
        return "storage"
    return "memory" if tells_of_memory(error) else "exception"


def is_short_of_disk(error: BaseException | None) -> bool:
    """Tell whether an error says that a disk is full, a quota used up, or nothing may be written.

    Object stores have no error numbers, so the words of one count as well.
    """
    if not isinstance(error, OSError):
        return False
    message = str(error).lower()
    return error.errno in _DISK_ERRORS or any(words in message for words in _DISK_WORDS)


def _is_of_silent_storage(error: Exception) -> bool:
    """Tell whether an error says that a folder or a server does not answer just now."""
    if isinstance(error, ConnectionError):
        return True
    return isinstance(error, OSError) and error.errno in _SILENT_STORAGE
