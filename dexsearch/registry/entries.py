"""What one line of `WORKSPACE/registry.jsonl` says, by kind of event.

Keys that newer versions added have a default, so that old logs stay readable.
"""

from dataclasses import dataclass, field
from typing import Any

from dexsearch.ledger.study import StudyRecord, TrialRecord

TargetScores = dict[str, float]


@dataclass(frozen=True, slots=True)
class Registration:
    """One registered generator; scores are those of its weights on validation subjects."""

    name: str
    version: int
    task: str
    study: str
    trial: int
    dataset: str
    """Digest of the dataset."""
    metric: int
    """Number of the metric definition."""
    val_ssim: float
    """Mean masked SSIM over the generator's targets at the final epoch."""
    val_ssim_bone: float | None
    val_ssim_tissue: float | None
    baselines: dict[str, TargetScores]
    params: dict[str, Any]
    epochs: int
    n_parameters: int
    package: str
    """Folder of the generator package, relative to the workspace."""
    weights_sha256: str
    sha256: str
    """Of the package's manifest, which holds the hash of every other file."""
    time: float
    """When it was registered, in seconds since 1970."""
    head: str = ""
    """What the network predicts: bone, tissue, joint or derive; empty in old logs."""
    scores: dict[str, float | None] = field(default_factory=dict)
    """Every score of its final epoch on validation subjects, by name."""
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """Score -> low and high end of its 95 % interval over validation subjects."""
    n_subjects: int | None = None
    """Validation subjects behind the intervals."""
    size_bytes: int | None = None
    """Of the weights' file."""
    latency: dict[str, Any] | None = None
    """Of one image at registration: `ms`, `size_px`, `device`, `threads`, `machine`."""
    seed: int | None = None
    """That it was trained with."""
    git_commit: str | None = None
    """Of dexsearch, where it was installed from a checkout."""

    @property
    def group(self) -> tuple[str, str, int]:
        """Task, dataset and metric definition: scores are comparable within, never across."""
        return (self.task, self.dataset, self.metric)

    def is_of(self, study: StudyRecord, trial: TrialRecord) -> bool:
        """Return whether this is the generator of that very trial.

        A study that was deleted and begun anew has the name and the numbers of the old one, so
        parameters and final score decide: two trainings agree in every digit only if their
        weights do.
        """
        mine = (self.study, self.trial, self.dataset, self.metric, self.epochs, self.params)
        return mine == (
            study.name, trial.number, study.dataset_digest, study.metric, trial.last_epoch,
            trial.params,
        ) and self.val_ssim == trial.last_record.get("val_ssim")  # fmt: skip


@dataclass(frozen=True, slots=True)
class StudyAudit:
    """Was the pruning of a study right? As it stood when a search of it ended."""

    study: str
    begun: float
    """When the study began: another one under its name has an audit of its own."""
    dataset: str
    metric: int
    n_ended: int
    """Trials that had ended."""
    audit: dict[str, Any]
    """What `status --format json` shows as `audit`."""
    text: str
    time: float
    """When it was written, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the hold-out: written before its images are opened."""

    look: str
    """Identity of the look, hex digits."""
    a: str
    """The generator in question, as `name/version` or folder."""
    b: str
    """What it was compared with."""
    target: str | None
    """bone or tissue; None for all that both predict."""
    dataset: str
    metric: int
    purpose: str
    """`compare` or `promote`."""
    time: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a look at the hold-out showed."""

    look: str
    """The look that it belongs to."""
    verdict: str
    result: dict[str, Any]
    """The comparison, as `compare --format json` prints it."""
    time: float


@dataclass(frozen=True, slots=True)
class AliasMove:
    """An alias that was pointed to a version, or removed."""

    name: str
    alias: str
    version: int | None
    """None: the alias was removed."""
    reason: str
    """Why, in words for people."""
    time: float
    previous: int | None = None
    """Where it pointed before; None where it was new, or in old logs."""
    look: str | None = None
    """The look at the hold-out that the move rests on."""
    forced: bool = False
    """Whether a person moved it against or without evidence."""


@dataclass(frozen=True, slots=True)
class ReplicatedTrial:
    """A configuration that was trained again with other seeds."""

    study: str
    begun: float
    """When the study began, which tells it from another one under its name."""
    trial: int
    """The trial whose configuration it is."""
    objective: str
    seeds: list[int]
    values: list[float]
    """The objective at the final epoch, by seed; the trial's own first score is not among them."""
    mean: float
    low: float | None
    """Ends of the 95 % t-interval of the mean over seeds; None with a single seed."""
    high: float | None
    time: float
