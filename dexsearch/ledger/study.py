"""What the ledger of a study says: its space, its trials, their epochs and how they ended.

Events, in the order in which the driver of a search writes them:

    study            the search as it was asked for, and the machine; again when it is continued
                     with more trials or on another machine
    trial_started    number, parameters, whole configuration, immune or not, enqueued or not
    trial_continued  the trial was handed out again after an interruption; while the search ran
                     with the reason and its kind: lost, hung, node, ... (search/retries.py)
    trial_withdrawn  its last hand-out does not count: the search ends for a reason it can tell
    gpu_sharing      how many trials share a GPU from then on, because more did not fit
    epoch            one record of a trial; the first one of a (trial, epoch) counts
    would_prune      the epoch at which the pruner wanted to stop an immune trial
    trial_ended      complete, pruned or failed; why; where its checkpoint is. A trial over a
                     limit is pruned too, with the kind `limit`: no pruner judged it
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dexsearch.errors import ConfigurationError, DataError
from dexsearch.ledger.log import Event, read_events
from dexsearch.location import is_uri

LEDGER_NAME = "ledger.jsonl"
REPLICATES = ".replicates"
"""Ends the name of a study that trains configurations of another one again, with other seeds."""
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
    """Relative to the study's folder; an absolute folder or a URI where storage is elsewhere."""
    started: float
    ended: float | None
    n_parameters: int | None = None
    """Of the generator, where the search limits them."""
    n_in_vain: int = 0
    """How often in a row it was handed out again, without a new epoch between, by a new process
    of the search that was then killed."""

    @property
    def last_epoch(self) -> int:
        """The newest epoch that was reported; 0 if there is none."""
        return max(self.epochs, default=0)

    @property
    def last_record(self) -> dict[str, Any]:
        """The record of the newest epoch; empty if there is none."""
        return self.epochs.get(self.last_epoch, {})

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
    begun: float = 0.0
    """When its first event was written, in seconds since 1970; it tells a study from another
    one that was begun anew under its name."""
    machines: tuple[dict[str, Any], ...] = ()
    """What it ran on, in order: processor, cpus, gpus. Not known of clusters and old ledgers."""
    per_gpu: int | None = None
    """How many trials fit on a GPU, where more did not; asking for other resources forgets it."""
    setbacks: dict[str, int] = field(default_factory=dict)
    """How often trials had to begin again while the search ran, by kind."""

    def in_state(self, state: State) -> tuple[TrialRecord, ...]:
        """Return the trials in one state, by number."""
        return tuple(trial for trial in self.trials if trial.state == state)

    def ranking(self) -> tuple[TrialRecord, ...]:
        """Return the complete trials with a score, the best final objective first."""
        scored = [t for t in self.in_state("complete") if self.objective in t.last_record]
        return tuple(
            sorted(
                scored,
                key=lambda trial: (
                    -trial.value_at(trial.last_epoch, self.objective),
                    trial.number,
                ),
            )
        )

    def checkpoint_location(self, trial: TrialRecord) -> str | None:
        """Return the folder or URI of a trial's last checkpoint, if it left one."""
        if trial.checkpoint is None or is_uri(trial.checkpoint):
            return trial.checkpoint
        return str(self.folder / trial.checkpoint)


def read_study(folder: Path) -> StudyRecord:
    """Read a study's ledger, also while a search writes it.

    Raises:
        ConfigurationError: if there is no study in `folder`.
        DataError: if the ledger was damaged by more than a torn last line.
    """
    events = read_events(folder / LEDGER_NAME)
    if not events:
        raise ConfigurationError(
            f"no study in {folder}", hint="start one: dexsearch tune --space quickstart.yaml"
        )
    return study_from_events(events, folder)


def study_from_events(events: Iterable[Event], folder: Path) -> StudyRecord:
    """Fold the events of a ledger, of which at least one is `study`, into a record.

    Raises:
        DataError: if the events do not belong together, because a line was changed or deleted.
    """
    study = _Study()
    number = 0
    try:
        for number, event in enumerate(events, start=1):  # noqa: B007  (the message tells it)
            study.add(event)
        return study.record(folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{folder / LEDGER_NAME}:{number}: an event cannot be read: {error!r}; "
            "a line was changed or deleted",
            hint="put the file back from a copy, or begin anew with --study NEW-NAME",
        ) from None


@dataclass(slots=True)
class _Study:
    """A study while its events are read."""

    first: Event | None = None
    asked: Event = field(default_factory=dict)
    trials: dict[int, "_Trial"] = field(default_factory=dict)
    machines: list[dict[str, Any]] = field(default_factory=list)
    per_gpu: int | None = None
    setbacks: dict[str, int] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        match event["event"]:
            case "epoch":
                self.trials[event["trial"]].add_epoch(event["record"])
            case "trial_started":
                self.trials.setdefault(event["trial"], _Trial(event))
            case "would_prune":
                trial = self.trials[event["trial"]]
                trial.would_prune_at = trial.would_prune_at or event["epoch"]
            case "trial_ended":
                trial = self.trials[event["trial"]]
                trial.ended = trial.ended or event
            case "trial_continued" if "kind" in event:
                self.setbacks[event["kind"]] = self.setbacks.get(event["kind"], 0) + 1
            case "trial_continued":
                self.trials[event["trial"]].n_in_vain += 1
            case "trial_withdrawn":
                trial = self.trials[event["trial"]]
                trial.n_in_vain = max(0, trial.n_in_vain - 1)
            case "gpu_sharing":
                self.per_gpu = int(event["per_gpu"])
            case "study":
                before = self.asked.get("space", {}).get("resources")
                if before is not None and before != event["space"].get("resources"):
                    self.per_gpu = None
                self.asked = event
                self.first = self.first or event
                machine = event.get("machine")
                if machine is not None and machine not in self.machines:
                    self.machines.append(machine)

    def record(self, folder: Path) -> StudyRecord:
        asked, trials = self.asked, self.trials
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
            begun=(self.first or asked).get("time", 0.0),
            machines=tuple(self.machines),
            per_gpu=self.per_gpu,
            setbacks=self.setbacks,
        )


@dataclass(slots=True)
class _Trial:
    """A trial while its events are read."""

    started: Event
    epochs: dict[int, dict[str, Any]] = field(default_factory=dict)
    would_prune_at: int | None = None
    ended: Event | None = None
    n_in_vain: int = 0

    def add_epoch(self, record: dict[str, Any]) -> None:
        if record["epoch"] not in self.epochs:
            self.epochs[record["epoch"]] = record
            self.n_in_vain = 0

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
            n_parameters=self.started.get("parameters"),
            n_in_vain=self.n_in_vain,
        )
