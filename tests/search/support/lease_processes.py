"""Processes that want one study's lease; programs of their own, importing no Ray and no pytest.

lease_processes.py hold FOLDER     hold the lease until standard input ends
lease_processes.py append FOLDER   hold it and append events until fenced off; exit with 6
"""

import errno
import os
import sys
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from dexsearch.errors import StudyBusy
from dexsearch.ledger.log import EventLog
from dexsearch.search.lease import Pace, study_lease

QUICK = Pace(beat_s=0.05, silence_s=0.6, look_s=0.02)


def contend(
    folder: Path, rounds: int, barrier: Barrier, results: "Queue[tuple[int, int, str]]",
    links: bool, takeover: bool,
) -> None:  # fmt: skip
    """Try for the lease `rounds` times, all at once; put (round, token or 0, what was told)."""
    if not links:
        os.link = _refused  # type: ignore[assignment]
    for number in range(rounds):
        told: list[str] = []
        barrier.wait(60)
        try:
            with study_lease(folder, takeover=takeover, tell=told.append, pace=QUICK) as lease:
                results.put((number, lease.token, " ".join(told)))
                barrier.wait(60)
        except StudyBusy as error:
            results.put((number, 0, str(error)))
            barrier.wait(60)


def _refused(*args: object) -> None:
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def hold(folder: Path) -> int:
    with study_lease(folder, takeover=False, tell=say, pace=QUICK):
        say("held")
        sys.stdin.read()
    return 0


def append(folder: Path) -> int:
    """Append as fast as it goes, each event with the process."""
    try:
        with (
            study_lease(folder, takeover=False, tell=say, pace=QUICK) as lease,
            EventLog(folder / "ledger.jsonl", check=lease.check) as log,
        ):
            lease.settle()
            while True:
                log.append({"event": "epoch", "process": os.getpid()}, sync=False)
                time.sleep(0.001)
    except StudyBusy as error:
        say(str(error))
        return error.exit_code


COMMANDS: dict[str, Callable[[Path], int]] = {"hold": hold, "append": append}

if __name__ == "__main__":
    raise SystemExit(COMMANDS[sys.argv[1]](Path(sys.argv[2])))
