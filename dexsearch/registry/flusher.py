"""The process that talks to MLflow for a search: nice, alone, and never in the way.

MLflow may be slow, dead or hanging; a process of its own cannot slow training down. It reads the
ledgers and writes MLflow, nothing else. Started by `flushing`, which talks to it in lines:

    stdin    one JSON line, the `Errand`; then nothing. Its end means that the search is gone,
             however that came, and this process goes at once.
    stdout   "." for each run that was brought up, {"tell": ...} for people, and at the end
             {"done": ...} or {"error": ..., "hint": ...}

While a search runs, it may work for one fiftieth of the time (`DUTY`), its start included.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from dexsearch.errors import DexSearchError, EnvironmentFault
from dexsearch.registry.mirror import sync_study, sync_workspace

DUTY = 0.02
"""Largest share of one processor that projecting a running search may take."""
FIRST_S, PAUSE_S, LONGEST_PAUSE_S = 30.0, 10.0, 300.0
"""Seconds before the first projection, between two, and after one that failed, at most."""
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What a flusher is to do."""

    workspace: str
    uri: str | None
    study: str | None
    """Folder of the study to project while it runs; None: bring everything up once."""
    parent: int
    """Process that waits for us."""


def main() -> None:
    """Do the errand that the first line of standard input names."""
    errand = Errand(**json.loads(sys.stdin.readline()))
    _depend_on(errand.parent)
    os.nice(19)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    if errand.study is None:
        _bring_everything_up(errand)
    else:
        folder, workspace = Path(errand.study), Path(errand.workspace)
        follow(lambda: sync_study(folder, workspace, errand.uri))


def follow(
    project: Callable[[], None],
    *,
    rest: Callable[[float], None] = time.sleep,
    used_s: Callable[[], float] = time.process_time,
    clock: Callable[[], float] = time.monotonic,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Project again and again, and rest so long that it takes `DUTY` of a processor at most.

    A failed projection is tried again after a rest that doubles, for the ledger holds everything;
    what failed is told when the search has ended and everything is brought up.

    Args:
        project: brings MLflow up to a ledger.
        rest: waits so many seconds.
        used_s: tells how many seconds of a processor this process has used since it began.
        clock: tells seconds.
        is_over: ends the loop; for tests.
    """
    begun = clock()
    rest(max(FIRST_S, used_s() / DUTY))
    pause_s = PAUSE_S
    while not is_over():
        try:
            project()
            pause_s = PAUSE_S
        except (DexSearchError, OSError):
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        affordable_from = begun + used_s() / DUTY
        rest(max(pause_s, affordable_from - clock()))


def _bring_everything_up(errand: Errand) -> None:
    def tell(line: str) -> None:
        _say(json.dumps({"tell": line}))

    try:
        done = sync_workspace(Path(errand.workspace), tell, errand.uri, beat=lambda: _say("."))
        _say(json.dumps({"done": asdict(done)}))
    except EnvironmentFault as error:
        _say(json.dumps({"error": str(error), "hint": error.hint}))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _depend_on(parent: int) -> None:
    """Be killed with the parent, and let only the parent end us.

    Ctrl-C and SIGTERM reach whole groups of processes; the search, which they stop, stops us.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":  # holds too if a fork of the parent keeps our input open
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _leave_with_parent() -> None:
    """End this process, in whatever call it is, as soon as nobody holds its input open.

    What is half sent is sent again by the next one: MLflow's writes are transactions.
    """
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
