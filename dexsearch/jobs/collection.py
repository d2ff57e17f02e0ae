"""What `gc` freed: each piece, and the whole by place and kind for people."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

_NAMES = {
    "checkpoint": "checkpoints",
    "mark": "writers' marks",
    "scratch": "scratch folders",
    "unfinished": "unfinished folders",
    "package": "packages",
    "artifacts": "artifact folders",
}


@dataclass(frozen=True, slots=True)
class Collected:
    """One piece of garbage that was deleted, or would be."""

    kind: str
    place: str
    path: Path
    why: str
    bytes: int
    """That the disk gains; a file with another name elsewhere counts nothing."""


@dataclass(frozen=True, slots=True)
class Collection:
    """What `gc` freed, and what it passed over."""

    items: tuple[Collected, ...]
    passed_over: tuple[str, ...]
    dry_run: bool

    @property
    def bytes(self) -> int:
        """All that the disk gained."""
        return sum(item.bytes for item in self.items)

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        names = ("kind", "place", "path", "why", "bytes")
        return {
            "dry_run": self.dry_run,
            "bytes": self.bytes,
            "items": [{name: getattr(item, name) for name in names} for item in self.items],
            "passed_over": list(self.passed_over),
        }

    def __str__(self) -> str:
        """Return the text for people: one line per place and kind."""
        lines = [f"{'would free' if self.dry_run else 'freed'} {_size(self.bytes)}"]
        if not self.items:
            lines = ["nothing to free"]
        ordered = sorted(self.items, key=_group)
        for (place, kind, why), group in groupby(ordered, key=_group):
            mine = list(group)
            freed = _size(sum(item.bytes for item in mine))
            lines.append(f"  {place}: {freed} in {len(mine)} {_NAMES[kind]} {why}")
        lines += [f"passed over: {line}" for line in self.passed_over]
        return "\n".join(lines)


def _size(n_bytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} bytes"


def _group(item: Collected) -> tuple[str, str, str]:
    return item.place, item.kind, item.why
