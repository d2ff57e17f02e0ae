"""May a study be continued with this search space?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dexsearch.config.space import SearchSpace
from dexsearch.errors import ConfigurationError
from dexsearch.ledger.log import Event
from dexsearch.ledger.study import StudyRecord

_MUST_STAY = (
    "task", "objective", "epochs", "pruner", "sampler", "search", "fixed", "enqueue", "limits",
)  # fmt: skip
_SHOWN_DIFFERENCES = 4


@dataclass(frozen=True, slots=True)
class StudyRequest:
    """A search as it is asked for."""

    name: str
    space: SearchSpace
    dataset: Path
    dataset_digest: str
    size_px: tuple[int, int]
    metric: int
    machine: dict[str, Any] | None = None
    """What the trials run on; None where that is a cluster, or nobody asks."""

    def as_event(self) -> Event:
        """Return the ledger's `study` event."""
        return {
            "event": "study",
            "study": self.name,
            "space": self.space.model_dump(mode="json", by_alias=True),
            "task": self.space.task.value,
            "dataset": str(self.dataset),
            "dataset_digest": self.dataset_digest,
            "metric": self.metric,
            "size_px": list(self.size_px),
            **({"machine": self.machine} if self.machine is not None else {}),
        }


def refuse_changed(record: StudyRecord, request: StudyRequest) -> None:
    """Check that a study would go on as the search that it is.

    More or fewer trials, other resources and another number of registrations are welcome; what
    would mix two searches in one study is not. Where every trial is enqueued nothing is proposed,
    so the enqueued configurations that have not begun may change, as their number may.

    Raises:
        ConfigurationError: with the differences, and a new name as the hint.
    """
    found = list(_differences(record, request))
    if not found:
        return
    shown = "; ".join(found[:_SHOWN_DIFFERENCES])
    more = len(found) - _SHOWN_DIFFERENCES
    raise ConfigurationError(
        f"study {record.name!r} was begun as another search: {shown}"
        + (f"; and {more} more" if more > 0 else ""),
        hint=f"--study NEW-NAME starts a second study; {record.folder} stays as it is",
    )


def _differences(record: StudyRecord, request: StudyRequest) -> Iterator[str]:
    try:
        # Through the model, so that a key that is new since then has its default.
        before = SearchSpace.model_validate(record.space)
    except ValidationError:
        yield "its search space was written by another version of dexsearch"
        return
    old = before.model_dump(mode="json", by_alias=True)
    new = request.space.model_dump(mode="json", by_alias=True)
    if all(space.trials <= len(space.enqueue) for space in (before, request.space)):
        for space in (old, new):
            space["enqueue"] = space["enqueue"][: len(record.trials)]
    old_values, new_values = (
        dict(_flat({key: space[key] for key in _MUST_STAY})) for space in (old, new)
    )
    for key in [*old_values, *(key for key in new_values if key not in old_values)]:
        if old_values.get(key) != new_values.get(key):
            yield f"{key} {_told(old_values.get(key))} -> {_told(new_values.get(key))}"
    if record.dataset_digest != request.dataset_digest:
        yield f"data {record.dataset_digest[:12]} -> {request.dataset_digest[:12]}"
    if record.metric != request.metric:
        yield f"metric definition {record.metric} -> {request.metric}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _told(value: Any) -> str:  # noqa: ANN401  (any JSON value)
    return "nothing" if value is None else str(value)
