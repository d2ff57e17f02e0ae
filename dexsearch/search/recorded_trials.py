"""The trial function of a rehearsal: plays recorded learning curves, trains nothing.

For measuring and testing everything about a search but its training: a cluster's network, the
driver, the ledger. The curves are those that `benchmarks/record_curves.py` wrote.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dexsearch.errors import DataError
from dexsearch.search.curves import CurveTable, read_table
from dexsearch.search.trial import Assignment, Record


class RecordedTrials:
    """Gives each configuration one recorded curve, the same in every process and at every time.

    Which one follows from the digest of the configuration, so neighbours in a search space have
    curves that have nothing in common: good for loads, not for judging samplers (`replay.py` is).

    Writes no checkpoint. A trial that is started again plays from epoch 1 and takes as long as
    the first time; a driver passes over the epochs that it has.
    """

    def __init__(
        self, curves: Path, *, epoch_s: float = 0.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Name a table of curves; it is read in the worker, at the first trial.

        Args:
            curves: a file of `curves.write_table`, as every worker sees it.
            epoch_s: how long an epoch pretends to take, in seconds.
            sleep: waits so long; for tests.
        """
        if not epoch_s >= 0:
            raise ValueError(f"expected epoch_s >= 0 seconds, got {epoch_s!r}")
        self._path = curves
        self._epoch_s = epoch_s
        self._sleep = sleep
        self._table: CurveTable | None = None

    def __call__(self, assignment: Assignment) -> Iterator[Record]:
        """Yield one record per epoch: its number, the recorded objectives, and seconds.

        Raises:
            DataError: if the table cannot be read or is shorter than the trial.
        """
        if self._table is None:
            self._table = read_table(self._path)
        table = self._table
        if assignment.epochs > table.epochs or not table.rows:
            raise DataError(
                f"{self._path}: {len(table.rows)} curves of {table.epochs} epochs, and a trial "
                f"has {assignment.epochs}",
                hint="lower epochs, or record longer curves: benchmarks/record_curves.py",
            )
        row = table.rows[_digest(assignment) % len(table.rows)]
        for epoch in range(1, assignment.epochs + 1):
            if self._epoch_s:
                self._sleep(self._epoch_s)
            scores = {name: row.curves[name][epoch - 1] for name in table.objectives}
            yield {"epoch": epoch, **scores, "seconds": self._epoch_s}


def _digest(assignment: Assignment) -> int:
    """Return a number that follows from a trial's configuration and from nothing else."""
    text = json.dumps(assignment.config, sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
