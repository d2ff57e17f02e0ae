"""Record a table of whole learning curves by a real search that never prunes.

    python benchmarks/record_curves.py                  # up to 150 configurations, 70 minutes
    python benchmarks/record_curves.py --trials 25      # the first 25

The search is that of `dexsearch tune` with benchmarks/curves/space.yaml: random configurations,
every one trained to its last epoch, one thread each. After each 25 the table is written anew. The
same command continues where it stopped; the minutes count over all continuations, because they
are read from the study's ledger: the time in which at least one configuration trained.
"""

import argparse
import math
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

from dexsearch.errors import DexSearchError, Interrupted, SearchFailed
from dexsearch.ledger.log import Event, read_events
from dexsearch.ledger.study import LEDGER_NAME, study_from_events

FOLDER = Path(__file__).parent / "curves"
STEP = 25


def tell(text: str) -> None:
    """Say something that is no result."""
    sys.stderr.write(text + "\n")


def minutes_of(events: Iterable[Event]) -> float:
    """Return the minutes in which at least one configuration trained: a union of epochs.

    A trial trains one epoch after the other, but a report may carry several, noted within a
    moment of each other. So each epoch ends when it was noted, or earlier: when the next epoch
    of its trial began.
    """
    spans: list[tuple[float, float]] = []
    next_begin: dict[int, float] = {}
    for event in reversed([event for event in events if event["event"] == "epoch"]):
        end = min(event["time"], next_begin.get(event["trial"], math.inf))
        begin = end - event["record"].get("seconds", 0.0)
        next_begin[event["trial"]] = begin
        spans.append((begin, end))
    seconds, reached = 0.0, 0.0
    for begin, end in sorted(spans):
        seconds += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return seconds / 60


def recorded_on() -> str:
    """Return the processor and the versions that made the curves."""
    import optuna
    import ray
    import torch

    from dexsearch import __version__
    from dexsearch.training.precision import fastest_precision

    dtype = fastest_precision(torch.device("cpu")).dtype
    return (
        f"{processor()}, {os.cpu_count()} processors, {dtype}; Python "
        f"{platform.python_version()}, torch {torch.__version__}, ray {ray.__version__}, "
        f"optuna {optuna.__version__}, dexsearch {__version__}"
    )


def processor() -> str:
    """Return the processor's name as the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def search(arguments: argparse.Namespace, trials: int, minutes_left: float) -> None:
    """Bring the study to `trials` configurations; raise Interrupted if the time is over first."""
    from dexsearch.jobs.plan import plan_search
    from dexsearch.jobs.tune import run_search

    plan = plan_search(
        str(arguments.space), workspace=arguments.workspace, trials=trials, study=arguments.study
    )
    alarm = threading.Timer(minutes_left * 60, os.kill, (os.getpid(), signal.SIGTERM))
    alarm.daemon = True
    alarm.start()  # stops the search as a scheduler would: after the epochs at hand
    try:
        run_search(plan, tell=tell, progress=lambda unit: nullcontext(lambda done, total: None))
    except SearchFailed as error:  # configurations that fail are part of the record
        tell(str(error))
    finally:
        alarm.cancel()


def stopped(number: int, frame: object) -> None:
    """Turn a signal that no search is there to take into the error that ends the recording."""
    raise Interrupted("stopped by request")


def write(folder: Path, out: Path) -> None:
    """Write what the ledger has as a table."""
    from dexsearch.search.curves import table_of, write_table

    events = read_events(folder / LEDGER_NAME)
    record = study_from_events(events, folder)
    table = table_of(record, recorded_on=recorded_on(), minutes=minutes_of(events))
    write_table(table, out)
    counts = ", ".join(f"{count} {state}" for state, count in table.counts.items() if count)
    print(f"{out}: {len(table.rows)} curves of {table.epochs} epochs after "
          f"{table.minutes:.1f} minutes ({counts})", flush=True)  # fmt: skip


def record(arguments: argparse.Namespace) -> None:
    """Search in steps and write the table after each one, until the number or the time is up."""
    folder = arguments.workspace / "studies" / arguments.study
    for trials in [*range(STEP, arguments.trials, STEP), arguments.trials]:
        events = read_events(folder / LEDGER_NAME)
        if sum(event["event"] == "trial_ended" for event in events) >= trials:
            continue
        left = arguments.minutes - minutes_of(events)
        if left <= 0:
            tell(f"the {arguments.minutes:g} minutes are over")
            break
        try:
            search(arguments, trials, left)
        except Interrupted as error:
            tell(f"{error}; the same command continues")
            break
        write(folder, arguments.out)
    if (folder / LEDGER_NAME).exists():
        write(folder, arguments.out)


def main() -> None:
    """Parse, record, and tell an error in one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--minutes", type=float, default=70.0, help="wall time, earlier included")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--space", type=Path, default=FOLDER / "space.yaml")
    parser.add_argument("--study", default="curves-joint-64px")
    parser.add_argument("--out", type=Path, default=FOLDER / "joint-64px.jsonl")
    signal.signal(signal.SIGTERM, stopped)
    try:
        record(parser.parse_args())
    except DexSearchError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        raise SystemExit(f"error: {error}{hint}") from None


if __name__ == "__main__":
    main()
