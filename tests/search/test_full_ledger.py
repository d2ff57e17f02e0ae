"""A ledger whose disk stays full: what ends the search meanwhile, and with which exit code."""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from invented_curves import rising
from searching import check_study, search_here

from dexsearch.errors import DexSearchError, EnvironmentFault, Interrupted, Terminated
from dexsearch.ledger.log import Event, EventLog
from dexsearch.search import disk_wait
from dexsearch.search.trial import Assignment, Record


class Disk:
    """Takes nothing more of a ledger from a moment on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self.refused = 0
        self.on_refusal: Callable[[], object] = lambda: None
        write = EventLog.append

        def append(log: EventLog, event: Event, *, sync: bool = True) -> Event:
            if not self.is_full:
                return write(log, event, sync=sync)
            self.refused += 1
            self.on_refusal()
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise EnvironmentFault("cannot write the ledger: No space left", hint="x") from full

        monkeypatch.setattr(EventLog, "append", append)
        monkeypatch.setattr(disk_wait, "_LOOK_AGAIN_S", 0.01)

    def filling(self, assignment: Assignment) -> Iterator[Record]:
        """Train, with a disk that is full from the second epoch on."""
        for record in rising(assignment):
            self.is_full = self.is_full or record["epoch"] == 2
            yield record


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGTERM, Terminated), (signal.SIGUSR1, Terminated), (signal.SIGINT, Interrupted)],
)
def test_a_signal_decides_the_exit_code_of_a_search_that_waits_for_space(
    number: signal.Signals, kind: type[DexSearchError], disk: Disk, tmp_path: Path
) -> None:
    """Slurm puts a job back that ends by its signal, and drops one that ends with an error."""
    disk.on_refusal = lambda: signal.raise_signal(number) if disk.refused == 3 else None
    with pytest.raises(Interrupted, match="cannot write the ledger: No space left") as told:
        search_here(tmp_path / "s", disk.filling, slots=1, trials=2)
    assert told.value.exit_code == kind.exit_code
    disk.is_full = False
    search_here(tmp_path / "s", rising, slots=1, trials=2)
    check_study(tmp_path / "s", trials=2, epochs=9)


def test_a_search_whose_time_is_over_does_not_wait_for_space(disk: Disk, tmp_path: Path) -> None:
    now = [0.0]

    def passes() -> None:
        now[0] += 10

    disk.on_refusal = passes
    with pytest.raises(EnvironmentFault, match="No space left"):
        search_here(
            tmp_path / "s", disk.filling, slots=1, trials=2, time_s=60.0, clock=lambda: now[0]
        )
    assert disk.refused == 6
