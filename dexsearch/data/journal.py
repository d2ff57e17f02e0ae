"""The journal of a dataset that is being written: what is safely on the disk, batch by batch.

One line, an object, is the layout; it stands before the first batch with an image. Each other
line, a list, is one batch, written after the bytes of its images were flushed. A torn last line
is cut off on opening, so its batch is made again.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from dexsearch.data.image_info import ImageInfo, image_info_from
from dexsearch.data.manifest import PathLengths
from dexsearch.data.samples import Layout
from dexsearch.data.splits import SUBSETS, Subset

LeftOut = Literal["guard_band", "unusable"]
LEFT_OUT: tuple[LeftOut, ...] = ("guard_band", "unusable")


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One image that was given, and where it went: to a subset, or why it was left out."""

    info: ImageInfo
    place: Subset | LeftOut


Batch = tuple[JournalEntry, ...]


@dataclass(frozen=True, slots=True)
class JournalContents:
    """What a journal says."""

    layout: Layout | None
    batches: tuple[Batch, ...]

    @property
    def entries(self) -> tuple[JournalEntry, ...]:
        """All images that were given, in order."""
        return tuple(entry for batch in self.batches for entry in batch)


class Journal:
    """An open journal."""

    def __init__(self, path: Path) -> None:
        """Open a journal, cutting off a torn end."""
        self.contents, size = _read(path)
        self._file = path.open("ab")
        self._file.truncate(size)

    def write_layout(self, layout: Layout) -> None:
        """Record the layout, once."""
        self._append(asdict(layout))

    def write_batch(self, batch: Sequence[JournalEntry]) -> None:
        """Record a batch whose images are on the disk."""
        self._append([{**asdict(entry.info), "place": entry.place} for entry in batch])

    def __enter__(self) -> "Journal":
        """Return the journal itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, value: Any) -> None:  # noqa: ANN401
        self._file.write(json.dumps(value).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _read(path: Path) -> tuple[JournalContents, int]:
    """Return the whole lines of a journal and their length in bytes."""
    content = path.read_bytes() if path.exists() else b""
    layout: Layout | None = None
    batches: list[Batch] = []
    size = 0
    for line in content.splitlines(keepends=True):
        try:
            if not line.endswith(b"\n"):
                break
            value = json.loads(line)
            if isinstance(value, dict):
                layout = _layout_from(value)
            else:
                batches.append(tuple(_entry_from(entry) for entry in value))
        except (ValueError, KeyError, TypeError):
            break
        size += len(line)
    return JournalContents(layout, tuple(batches)), size


def _layout_from(value: dict[str, Any]) -> Layout:
    rows, columns = value["size_px"]
    lengths = value["path_lengths"]
    return Layout(
        size_px=(int(rows), int(columns)),
        arrays=value["arrays"],
        path_lengths=None if lengths is None else PathLengths(**lengths),
    )


def _entry_from(value: dict[str, Any]) -> JournalEntry:
    place = value["place"]
    if place not in (*SUBSETS, *LEFT_OUT):
        raise ValueError(place)
    return JournalEntry(image_info_from(value), place)
