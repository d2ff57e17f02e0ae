"""A trial that has not ended, as the driver of a search remembers it."""

import math
from dataclasses import dataclass, field

from dexsearch.search.trial import Record


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
    """Whether it waits because its GPU's memory did not suffice beside other trials."""


def without_nan(record: Record) -> Record:
    """Return the record with NaN and infinity, which JSON lacks, as null."""
    return {key: _finite(value) for key, value in record.items()}


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return without_nan(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
