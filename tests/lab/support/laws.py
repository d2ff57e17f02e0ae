"""What holds of a study whatever happened to it, and how long it needed to recover."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import optuna

from dexsearch.ledger.log import Event, read_events
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord, read_study

_STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
_ENDED = frozenset(_STATES)


def assert_kept(before: Sequence[Event], now: Sequence[Event]) -> None:
    """Check that a ledger begins with what it once was: no event is gone, none is another.

    Whether an epoch was lost shows only so. A trial that is trained again from an older checkpoint
    ends with every epoch once all the same.
    """
    pairs = zip(before, now, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    gone = before[same:]
    assert not gone, f"{len(gone)} events that were in the ledger are gone, from {gone[0]} on"


@dataclass(frozen=True)
class Wholeness:
    """What a ledger lacks or has twice: nothing, if all is well."""

    record: StudyRecord
    missing: tuple[tuple[int, int], ...]
    """(trial, epoch) below a trial's last epoch."""
    twice: tuple[tuple[int, int], ...]

    @property
    def told(self) -> str:
        """As the table has it: lost / twice."""
        return f"{len(self.missing)} / {len(self.twice)}"

    @property
    def states(self) -> str:
        """How many trials ended how."""
        counts = Counter(trial.state for trial in self.record.trials)
        return ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))


def wholeness(folder: Path) -> Wholeness:
    """Count what the ledger of a study lacks or has twice."""
    events = read_events(folder / LEDGER_NAME)
    written = Counter(
        (event["trial"], event["record"]["epoch"]) for event in events if event["event"] == "epoch"
    )
    record = read_study(folder)
    missing = [
        (trial.number, epoch)
        for trial in record.trials
        for epoch in range(1, trial.last_epoch + 1)
        if epoch not in trial.epochs
    ]
    twice = [key for key, n in written.items() if n > 1]
    return Wholeness(record, tuple(missing), tuple(sorted(twice)))


def assert_whole(
    folder: Path, trials: int, *, states: Collection[str] = _ENDED, epochs: int | None = None
) -> Wholeness:
    """Check the law of every search that came to its end.

    Exactly so many trials, each begun once, ended once and in one of `states`; no (trial, epoch)
    missing or twice; complete means trained to the end; the Optuna study says the same.
    """
    whole = wholeness(folder)
    record = whole.record
    assert [trial.number for trial in record.trials] == list(range(trials))
    assert not whole.missing, f"missing from the ledger: {whole.missing}"
    assert not whole.twice, f"twice in the ledger: {whole.twice}"
    events = read_events(folder / LEDGER_NAME)
    for kind in ("trial_started", "trial_ended"):
        counts = Counter(event["trial"] for event in events if event["event"] == kind)
        assert counts == dict.fromkeys(range(trials), 1), f"{kind}: {counts}"
    wanted = int(record.space["epochs"]) if epochs is None else epochs
    for trial in record.trials:
        assert trial.state in states, (trial.number, trial.state, trial.reason)
        assert (trial.last_epoch == wanted) == (trial.state == "complete"), trial.number
    assert optuna_states(folder) == {t.number: _STATES[t.state] for t in record.trials}
    return whole


def part_done(folder: Path) -> float:
    """Return how much of a search is done, 1 at its end: the mean over the trials asked for.

    A trial that has ended is done, and one that runs to the part of its epochs that it has.
    """
    if not (folder / LEDGER_NAME).exists():
        return 0.0
    record = read_study(folder)
    epochs = int(record.space["epochs"])
    parts = (1.0 if t.state in _ENDED else t.last_epoch / epochs for t in record.trials)
    return sum(parts) / int(record.space["trials"])


def optuna_states(folder: Path) -> dict[int, str]:
    """Return the states of the trials in a study's database."""
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{folder}/study.db", skip_compatibility_check=True, skip_table_creation=True
    )
    trials = optuna.load_study(study_name=folder.name, storage=storage).get_trials()
    return {trial.number: trial.state.name for trial in trials}


@dataclass(frozen=True)
class Recovery:
    """What a ledger and the trials' folders show after a fault, in seconds since it."""

    trials: tuple[int, ...]
    noticed_s: float
    """Until the ledger has that a trial begins again."""
    training_s: float | None
    """Until its new process had claimed its folder, the last step before training."""
    new_epoch_s: float | None
    """Until the first epoch that the ledger had not."""

    def __str__(self) -> str:
        parts = [f"noticed after {self.noticed_s:.1f} s"]
        if self.training_s is not None:
            parts.append(f"training after {self.training_s:.1f} s")
        if self.new_epoch_s is not None:
            parts.append(f"new epoch after {self.new_epoch_s:.1f} s")
        return ", ".join(parts)


def continued_since(folder: Path, since: float) -> list[dict[str, Any]]:
    """Return the events of trials that were handed out again."""
    return [
        event
        for event in read_events(folder / LEDGER_NAME)
        if event["event"] == "trial_continued" and event["time"] >= since
    ]


def recovery(folder: Path, since: float, storage: Path | None = None) -> Recovery | None:
    """Measure from a fault to what came after it; None if no trial was handed out again."""
    again = continued_since(folder, since)
    if not again:
        return None
    numbers = tuple(sorted({int(event["trial"]) for event in again}))
    first = again[0]["trial"]
    claims = [
        path.stat().st_mtime - since
        for number in numbers
        if (path := (storage or folder) / "trials" / str(number) / "writer").exists()
        and path.stat().st_mtime >= since
    ]
    epochs = [
        event["time"] - since
        for event in read_events(folder / LEDGER_NAME)
        if event["event"] == "epoch" and event["trial"] == first
        and event["time"] > again[0]["time"]
    ]  # fmt: skip
    return Recovery(
        numbers,
        again[0]["time"] - since,
        min(claims, default=None),
        min(epochs, default=None),
    )
