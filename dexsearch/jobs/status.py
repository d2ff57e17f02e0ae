"""What `dexsearch status` tells about one study; reads its ledger and no heavy library."""

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dexsearch.errors import ConfigurationError
from dexsearch.jobs.time_left import TimeLeft, time_left
from dexsearch.ledger.log import lock_of
from dexsearch.ledger.studies import study_folder
from dexsearch.ledger.study import (
    LEDGER_NAME,
    REPLICATES,
    StudyRecord,
    TrialRecord,
    read_study,
)
from dexsearch.locking import is_locked
from dexsearch.search.audit import Audit, audit
from dexsearch.search.lease_holder import Holder, holder_of

_SETBACKS = {
    "lost": "process lost",
    "hung": "hung",
    "node": "node lost",
    "start": "process did not begin",
    "exception": "exception",
    "memory": "out of GPU memory",
    "disk": "disk full",
    "storage": "storage silent",
    "unfit": "node cannot run it",
    "unsaved": "last checkpoint not in the storage",
}


@dataclass(frozen=True, slots=True)
class RunningTrial:
    """A trial without an end: it runs, or waits for the search to be continued."""

    trial: int
    epoch: int
    """The newest epoch that was reported; 0 if there is none."""
    epochs: int
    """Those of a trial that survives."""
    value: float | None
    """The objective at that epoch."""

    def __str__(self) -> str:
        """Return one line for people."""
        score = "" if self.value is None else f", {self.value:.4f}"
        return f"trial {self.trial}: epoch {self.epoch} of {self.epochs}{score}"


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """Trials by state and the best complete one; a trial without an end counts as running."""

    study: str
    task: str
    objective: str
    wanted: int
    trials: Mapping[str, int]
    best_trial: int | None
    best_value: float | None
    epochs_done: int
    hours: float
    left: TimeLeft
    running: tuple[RunningTrial, ...]
    audit: Audit
    setbacks: Mapping[str, int] = field(default_factory=dict)
    """How often trials had to begin again, by kind: see retries.py."""
    live: bool = True
    """Whether a process works on the study."""
    holder: Holder | None = None
    """Who began it last, unless that process has given the study back."""
    replicates: "StudyStatus | None" = None
    """The study that trains the best of this one again with new seeds, where there is one."""

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        names = ("study", "task", "objective", "wanted", "best_trial", "best_value")
        return {
            **{name: getattr(self, name) for name in names},
            "live": self.live,
            "holder": self.holder.as_json() if self.holder else None,
            "trials": dict(self.trials),
            "epochs_done": self.epochs_done,
            "hours": self.hours,
            "setbacks": dict(self.setbacks),
            "epochs_left": self.left.epochs,
            "hours_left": self.left.hours,
            "at_once": self.left.at_once,
            "running": [asdict(trial) for trial in self.running],
            "audit": self.audit.as_json(),
            "replicates": self.replicates.as_json() if self.replicates else None,
        }

    def __str__(self) -> str:
        """Return the text for people."""
        best = "no complete trial yet"
        if self.best_trial is not None:
            best = f"trial {self.best_trial} with {self.objective} {self.best_value:.4f}"
        lines = [
            f"study {self.study} ({self.task}): {self._counted}",
            f"best: {best}",
            f"epochs trained: {self.epochs_done} in {_duration(self.hours)} of trials",
            *self._told_setbacks(),
            *(f"{self._unfinished}: {trial}" for trial in self.running),
            *self._told_left(),
            *self._told_holder(),
            str(self.audit),
            *([f"replicates: {self.replicates._counted}"] if self.replicates else []),
        ]
        return "\n".join(lines)

    def _told_setbacks(self) -> list[str]:
        """Return the line about trials that had to begin again, if any had."""
        told = ", ".join(f"{n} x {_SETBACKS.get(kind, kind)}" for kind, n in self.setbacks.items())
        return [f"begun again from checkpoints: {told}"] if told else []

    @property
    def _unfinished(self) -> str:
        return "running" if self.live or not self.running else "interrupted"

    @property
    def _counted(self) -> str:
        counts = ", ".join(
            f"{count} {self._unfinished if state == 'running' else state}"
            for state, count in self.trials.items()
        )
        return f"{sum(self.trials.values())} of {self.wanted} trials, {counts}"

    def _told_holder(self) -> list[str]:
        """Return the line about who works on it, or how somebody may."""
        if self.live:
            return [f"held by {self.holder}"] if self.holder else []
        if self.left.epochs == 0:
            return []
        if self.holder is not None and self.holder.may_come_back:
            return [f"held by {self.holder}; the same command with --takeover continues it"]
        return ["no process works on it; the same command continues it"]

    def _told_left(self) -> list[str]:
        """Return the line about what is left, if anything is."""
        if self.left.epochs == 0:
            return []
        if self.left.hours is None:
            return [f"left: about {self.left.epochs} epochs; none was timed yet"]
        at_once = f"{self.left.at_once} trials at once" if self.left.at_once > 1 else "one by one"
        return [
            f"left: about {self.left.epochs} epochs, {_duration(self.left.hours)} while it runs "
            f"({at_once}, pruned as often as so far)"
        ]


def study_status(workspace: Path, study: str | None) -> StudyStatus:
    """Summarise a study, by default the one whose ledger was written last.

    Raises:
        ConfigurationError: if there is no such study.
    """
    folder = study_folder(workspace, study)
    found = _status_of(folder)
    with suppress(ConfigurationError):  # there are none, or they begin just now
        return replace(found, replicates=_status_of(folder.with_name(folder.name + REPLICATES)))
    return found


def _status_of(folder: Path) -> StudyStatus:
    holder = holder_of(folder)
    live = is_locked(lock_of(folder / LEDGER_NAME)) if holder is None else holder.is_live
    return replace(summarise(read_study(folder)), live=live, holder=holder)


def summarise(record: StudyRecord) -> StudyStatus:
    """Count a study's trials, find its best, estimate what is left, judge the pruning."""
    ranking = record.ranking()
    best = ranking[0] if ranking else None
    return StudyStatus(
        study=record.name,
        task=record.task,
        objective=record.objective,
        wanted=int(record.space["trials"]),
        trials={
            state: len(record.in_state(state))
            for state in ("complete", "pruned", "failed", "running")
        },
        best_trial=best.number if best else None,
        best_value=best.value_at(best.last_epoch, record.objective) if best else None,
        epochs_done=sum(len(trial.epochs) for trial in record.trials),
        setbacks=record.setbacks,
        hours=sum(_seconds(trial) for trial in record.trials) / 3600,
        left=time_left(record),
        running=tuple(_running(record, trial) for trial in record.in_state("running")),
        audit=audit(record),
    )


def _running(record: StudyRecord, trial: TrialRecord) -> RunningTrial:
    value = trial.last_record.get(record.objective)
    finite = value is not None and math.isfinite(value)
    epochs = int(record.space.get("epochs", trial.last_epoch))
    return RunningTrial(trial.number, trial.last_epoch, epochs, value if finite else None)


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def _seconds(trial: TrialRecord) -> float:
    records: list[dict[str, Any]] = list(trial.epochs.values())
    if trial.ended is None and not records:
        return max(0.0, time.time() - trial.started)
    return float(sum(record["seconds"] for record in records))
