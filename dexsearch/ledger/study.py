"""What the ledger of a study says: its space, its trials, their epochs and how they ended.

Events, in the order in which the driver of a search writes them:

    study            the search as it was asked for; again when it is continued with more trials
    trial_started    number, parameters, whole configuration, immune or not, enqueued or not
    trial_continued  the trial was handed out again, after an interruption
    epoch            one record of a trial; the first one of a (trial, epoch) counts
    would_prune      the epoch at which the pruner wanted to stop an immune trial
    trial_ended      complete, pruned or failed; why; where its checkpoint is
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dexsearch.errors import ConfigurationError
from dexsearch.ledger.log import Event, read_events

LEDGER_NAME = "ledger.jsonl"
State = Literal["running", "complete", "pruned", "failed"]


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial; `epochs` maps an epoch, from 1, to its record (scores, losses, seconds)."""

    number: int
    params: dict[str, Any]
    config: dict[str, Any]
    immune: bool
    enqueued: bool
    epochs: dict[int, dict[str, Any]]
    state: State
    would_prune_at: int | None
    reason: str | None
    kind: str | None
    checkpoint: str | None
    """Relative to the study's folder, or absolute where storage is elsewhere."""
    started: float
    ended: float | None

    @property
    def last_epoch(self) -> int:
        """The newest epoch that was reported; 0 if there is none."""
        return max(self.epochs, default=0)

    def value_at(self, epoch: int, objective: str) -> float:
        """Return the objective at an epoch; KeyError if it was not reported."""
        return float(self.epochs[epoch][objective])


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study as its ledger has it; `space` is the resolved search space."""

    name: str
    folder: Path
    space: dict[str, Any]
    task: str
    objective: str
    dataset: str
    dataset_digest: str
    metric: int
    trials: tuple[TrialRecord, ...]
    size_px: tuple[int, int] | None = None

    def in_state(self, state: State) -> tuple[TrialRecord, ...]:
        """Return the trials in one state, by number."""
        return tuple(trial for trial in self.trials if trial.state == state)

    def ranking(self) -> tuple[TrialRecord, ...]:
        """Return the complete trials, the best objective at the final epoch first."""
        return tuple(
            sorted(
                self.in_state("complete"),
                key=lambda trial: (
                    -trial.value_at(trial.last_epoch, self.objective),
                    trial.number,
                ),
            )
        )

    def checkpoint_path(self, trial: TrialRecord) -> Path | None:
        """Return the folder of a trial's last checkpoint, if it left one."""
        return None if trial.checkpoint is None else self.folder / trial.checkpoint


def read_study(folder: Path) -> StudyRecord:
    """Read a study's ledger, also while a search writes it.

    Raises:
        ConfigurationError: if there is no study in `folder`.
        DataError: if the ledger was damaged by more than a torn last line.
    """
    events = read_events(folder / LEDGER_NAME)
    if not any(event["event"] == "study" for event in events):
        raise ConfigurationError(
            f"no study in {folder}", hint="start one: dexsearch tune --space quickstart.yaml"
        )
    return study_from_events(events, folder)


def list_studies(workspace: Path) -> tuple[str, ...]:
    """Return the names of a workspace's studies, the newest ledger first."""
    ledgers = (workspace / "studies").glob(f"*/{LEDGER_NAME}")
    newest = sorted(ledgers, key=lambda path: path.stat().st_mtime, reverse=True)
    return tuple(path.parent.name for path in newest)


def study_from_events(events: Iterable[Event], folder: Path) -> StudyRecord:
    """Fold the events of a ledger, of which at least one is `study`, into a record."""
    asked: Event = {}
    trials: dict[int, _Trial] = {}
    for event in events:
        match event["event"]:
            case "epoch":
                record = event["record"]
                trials[event["trial"]].epochs.setdefault(record["epoch"], record)
            case "trial_started":
                trials.setdefault(event["trial"], _Trial(event))
            case "would_prune":
                trial = trials[event["trial"]]
                trial.would_prune_at = trial.would_prune_at or event["epoch"]
            case "trial_ended":
                trial = trials[event["trial"]]
                trial.ended = trial.ended or event
            case "study":
                asked = event
    return StudyRecord(
        name=asked["study"],
        folder=folder,
        space=asked["space"],
        task=asked["task"],
        objective=asked["space"]["objective"],
        dataset=asked["dataset"],
        dataset_digest=asked["dataset_digest"],
        metric=asked["metric"],
        trials=tuple(trials[number].record() for number in sorted(trials)),
        size_px=tuple(asked["size_px"]) if asked.get("size_px") else None,
    )


@dataclass(slots=True)
class _Trial:
    """A trial while its events are read."""

    started: Event
    epochs: dict[int, dict[str, Any]] = field(default_factory=dict)
    would_prune_at: int | None = None
    ended: Event | None = None

    def record(self) -> TrialRecord:
        ended = self.ended or {}
        return TrialRecord(
            number=self.started["trial"],
            params=self.started["params"],
            config=self.started["config"],
            immune=self.started["immune"],
            enqueued=self.started["enqueued"],
            epochs=self.epochs,
            state=ended.get("state", "running"),
            would_prune_at=self.would_prune_at,
            reason=ended.get("reason"),
            kind=ended.get("kind"),
            checkpoint=ended.get("checkpoint"),
            started=self.started["time"],
            ended=ended.get("time"),
        )
