"""A driver that is killed in the middle of a large search: how long until the next one goes on?

`kill -9` once half of the trials have ended, then the same command again, to its end. What it
printed is worth something only if nothing was lost, so the ledger is checked first.
"""

import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from subprocess import Popen
from typing import Any

from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, read_study

_STEPS = ("begun", "imported", "ledger read", "study ready", "first trial")
_POLL_S = 0.5


def killed_in_the_middle(
    begin: Callable[[str, int], "Popen[str]"],
    finish: Callable[["Popen[str]"], dict[str, Any]],
    folder: Path,
    trials: int,
) -> None:
    """Kill a driver when half of its trials have ended, run the same again, print the way back.

    Args:
        begin: starts a driver with the name of its folder and its number of trials.
        finish: waits for a driver and returns what it measured.
        folder: where the drivers' folders are.
        trials: how many the study is to have in the end.

    Raises:
        SystemExit: if the first driver ended before it was killed, or the study is not whole.
    """
    study = folder / "killed" / "s"
    ledger = study / LEDGER_NAME
    first = begin("killed", trials)
    while first.poll() is None and n_ended(ledger) < trials // 2:
        time.sleep(_POLL_S)
    first.kill()
    first.communicate()
    ended, size = n_ended(ledger), ledger.stat().st_size
    if ended >= trials:
        raise SystemExit(f"all {trials} trials had ended before the kill; ask for more")
    unfinished = len(read_study(study).in_state("running"))
    told = finish(begin("killed", trials))
    problems = flaws(study, trials)
    if problems:
        raise SystemExit("after a kill and a restart the study is not whole:\n" + problems)
    new = finish(begin("new", 1))  # last, so that cluster and files are as warm for it
    print(f"\nkill -9 after {ended} ended trials, {unfinished} unfinished, "
          f"ledger {size / 2**20:.1f} MiB")  # fmt: skip
    print_way_back(told["at"], new["at"], ended)
    print(f"  {trials} trials in the end, none missing; no (trial, epoch) missing or twice")


def print_way_back(at: dict[str, float], new: dict[str, float], ended: int) -> None:
    """Print where the time went until the first trial was handed out, and beside a new search."""
    for before, step in pairwise(_STEPS):
        print(f"  {at[step] - at.get(before, 0.0):7.2f} s  {step} (a new search: "
              f"{new[step] - new.get(before, 0.0):.2f} s)")  # fmt: skip
    ratio = at["first trial"] / new["first trial"]
    print(f"  {at['first trial']:7.2f} s  from the start of the process to its first trial, an "
          f"unfinished one: {ratio:.2f} x a new search's")  # fmt: skip
    print(f"  {at['first new trial']:7.2f} s  to the first new one, once a slot is free")
    grown = at["study ready"] - at["imported"] - (new["study ready"] - new["imported"])
    print(f"  {1e3 * grown / max(1, ended):7.2f} ms for each ended trial: reading and replay")


def n_ended(ledger: Path) -> int:
    """Count the trials that have ended."""
    if not ledger.exists():
        return 0
    return ledger.read_bytes().count(b'"event":"trial_ended"')


def flaws(study: Path, trials: int) -> str:
    """Return what a finished study lacks or has twice, a line each; empty if it is whole."""
    record = read_study(study)
    found = [_missing(record, trials), *map(_of_trial(record), record.trials), _twice(study)]
    return "\n".join(filter(None, found))


def _missing(record: StudyRecord, trials: int) -> str:
    numbers = [trial.number for trial in record.trials]
    return "" if numbers == list(range(trials)) else f"{len(numbers)} trials, asked for {trials}"


def _of_trial(record: StudyRecord) -> Callable[[Any], str]:
    last = int(record.space["epochs"])

    def told(trial: Any) -> str:  # noqa: ANN401
        if trial.state == "running":
            return f"trial {trial.number}: never ended"
        if sorted(trial.epochs) != list(range(1, trial.last_epoch + 1)):
            return f"trial {trial.number}: epochs {sorted(trial.epochs)}"
        is_whole = (trial.last_epoch == last) == (trial.state == "complete")
        return "" if is_whole else f"trial {trial.number}: {trial.state} at {trial.last_epoch}"

    return told


def _twice(study: Path) -> str:
    events = read_events(study / LEDGER_NAME)
    seen = Counter(
        (event["trial"], event["record"]["epoch"]) for event in events if event["event"] == "epoch"
    )
    return "; ".join(f"trial {n}, epoch {epoch}: twice" for (n, epoch), k in seen.items() if k > 1)
