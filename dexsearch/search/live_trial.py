"""A trial that has not ended, as the driver of a search remembers it."""

import math
from dataclasses import dataclass, field

from dexsearch.config.space import Scalar, SearchSpace
from dexsearch.errors import ConfigurationError
from dexsearch.ledger.study import TrialRecord
from dexsearch.search.limits import counted_parameters
from dexsearch.search.retries import SUSPECT_AFTER, Setbacks
from dexsearch.search.space import is_immune, trial_seed
from dexsearch.search.storage import trial_location
from dexsearch.search.trial import Assignment, Failure, Record


@dataclass(slots=True)
class LiveTrial:
    """What the driver has to know of a trial beside the ledger."""

    number: int
    immune: bool
    config: dict[str, object]
    values: dict[int, float] = field(default_factory=dict)
    """The objective of each epoch that the ledger has."""

    would_prune_at: int | None = None
    n_parameters: int | None = None
    latency_ms: float | None = None
    """Both of its generator; None where no limit asks for them, or before they are known."""

    was_put_back: bool = False
    """Whether it waits after a setback that the ledger has already."""

    attempt: int = 0
    """How often this process handed it out and took it back."""

    is_under_way: bool = False
    """Whether it has reported a new epoch to this process, so that what it needs is there."""

    setbacks: Setbacks = field(default_factory=Setbacks)

    n_in_vain: int = 0
    """How often in a row the whole search was killed after it was handed out again, without a new
    epoch; it need not have run, for want of room."""

    node: str | None = None
    """Where it was when it reported last; None if that is not known."""

    @classmethod
    def proposed(
        cls, space: SearchSpace, number: int, params: dict[str, Scalar]
    ) -> tuple["LiveTrial", str | None]:
        """Return a new trial, and why it cannot be trained if that is so."""
        trial = cls(number, immune=is_immune(space, number), config={})
        try:
            config = space.config_for(params, seed=trial_seed(space, number))
            trial.config = config.model_dump(mode="json")
            trial.n_parameters = counted_parameters(space.limits, config)
        except ConfigurationError as error:
            return trial, str(error)
        return trial, None

    @classmethod
    def of(cls, record: TrialRecord, objective: str) -> "LiveTrial":
        """Return an unfinished trial of an earlier process."""
        return cls(
            number=record.number,
            immune=record.immune,
            config=record.config,
            values={epoch: record.value_at(epoch, objective) for epoch in sorted(record.epochs)},
            would_prune_at=record.would_prune_at,
            n_parameters=record.n_parameters,
            latency_ms=record.epochs.get(1, {}).get("latency_ms"),
            n_in_vain=record.n_in_vain,
        )

    @property
    def is_suspect(self) -> bool:
        """Whether it may be what ends the whole search, such as by taking a machine's memory."""
        return self.n_in_vain >= SUSPECT_AFTER and not self.is_under_way

    def decide_from(self, space: SearchSpace) -> int:
        """Return the first epoch after which the trial may be stopped."""
        if space.limits.latency_ms is not None and not self.values:
            return 1
        is_safe = self.immune or self.would_prune_at is not None or space.pruner.kind == "none"
        return space.epochs if is_safe else space.pruner.min_epochs

    def assignment(
        self, space: SearchSpace, storage: str, *, gpu_share: float, token: int
    ) -> Assignment:
        """Return what a process is told of the trial.

        Args:
            space: of the search.
            storage: folder or URI of the study's checkpoints.
            gpu_share: part of a GPU that the trial may take.
            token: of the study's lease.
        """
        return Assignment(
            number=self.number,
            config=dict(self.config),
            epochs=space.epochs,
            checkpoints=trial_location(storage, self.number),
            decide_from=self.decide_from(space),
            gpu_share=gpu_share,
            attempt=self.attempt,
            token=token,
        )


def unusable(record: Record, objective: str) -> Failure | None:
    """Return why an epoch cannot be ranked, if it cannot."""
    value = record.get(objective)
    if value is None:
        problem = f"its records have no {objective}; choose another objective"
        return Failure("configuration", problem)
    if not math.isfinite(value):
        return Failure("numeric", f"{objective} is {value} at epoch {record['epoch']}")
    return None


def without_nan(record: Record) -> Record:
    """Return the record with NaN and infinity, which JSON lacks, as null."""
    return {key: _finite(value) for key, value in record.items()}


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return without_nan(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
