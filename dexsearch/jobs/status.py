"""What `dexsearch status` tells about one study; reads its ledger and no heavy library."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsearch.errors import ConfigurationError
from dexsearch.ledger.study import StudyRecord, TrialRecord, list_studies, read_study


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

    def __str__(self) -> str:
        """Return the text for people."""
        counts = ", ".join(f"{count} {state}" for state, count in self.trials.items())
        best = "no complete trial yet"
        if self.best_trial is not None:
            best = f"trial {self.best_trial} with {self.objective} {self.best_value:.4f}"
        return (
            f"study {self.study} ({self.task}): {sum(self.trials.values())} of {self.wanted} "
            f"trials, {counts}\nbest: {best}\n"
            f"epochs trained: {self.epochs_done} in {_duration(self.hours)} of trials"
        )


def study_status(workspace: Path, study: str | None) -> StudyStatus:
    """Summarise a study, by default the one whose ledger was written last.

    Raises:
        ConfigurationError: if there is no such study.
    """
    names = list_studies(workspace)
    if not names or (study is not None and study not in names):
        given = f"no study {study!r}" if study else "no study"
        raise ConfigurationError(
            f"{given} in {workspace}; there is {', '.join(names) or 'none yet'}",
            hint="dexsearch tune --space quickstart.yaml starts one",
        )
    return summarise(read_study(workspace / "studies" / (study or names[0])))


def summarise(record: StudyRecord) -> StudyStatus:
    """Count a study's trials and find its best."""
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
        hours=sum(_seconds(trial) for trial in record.trials) / 3600,
    )


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def _seconds(trial: TrialRecord) -> float:
    records: list[dict[str, Any]] = list(trial.epochs.values())
    if trial.ended is None and not records:
        return max(0.0, time.time() - trial.started)
    return float(sum(record["seconds"] for record in records))
