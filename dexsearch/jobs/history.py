"""What `dexsearch history` tells: moves of aliases, looks at the hold-out and their verdicts.

Reads `registry.jsonl` alone; standard library only.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dexsearch.errors import NotRegistered
from dexsearch.registry.record import AliasMove, Evidence, Look, Registry, read_registry
from dexsearch.wording import printable


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened: an alias was moved, or the hold-out was looked at."""

    time: float
    move: AliasMove | None = None
    look: Look | None = None
    evidence: Evidence | None = None
    """What the look showed; None where it never ended."""
    n_looks: int = 0
    """Looks at that hold-out until then, this one included."""

    def as_json(self) -> dict[str, Any]:
        """Return the entry with `kind`, which is `alias` or `look`."""
        if self.move is not None:
            return {"kind": "alias", **asdict(self.move)}
        if self.look is None:
            return {}
        found = self.evidence
        return {
            "kind": "look",
            **asdict(self.look),
            "n_looks": self.n_looks,
            "verdict": None if found is None else found.verdict,
            "result": None if found is None else found.result,
        }

    def __str__(self) -> str:
        """Return one line, with the time where the reader is."""
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.time))
        return f"{when}  {printable(_told_move(self.move) if self.move else self._told_look())}"

    def _told_look(self) -> str:
        if self.look is None:
            return ""
        verdict = "never ended" if self.evidence is None else self.evidence.verdict
        difference = None if self.evidence is None else self.evidence.result.get("difference")
        told = f"{verdict} ({difference:+.4f})" if isinstance(difference, float) else verdict
        return (
            f"look {self.n_looks} at {self.look.dataset[:12]} to {self.look.purpose}: "
            f"{self.look.a} against {self.look.b}"
            f"{f' on {self.look.target}' if self.look.target else ''}: {told}"
        )


@dataclass(frozen=True, slots=True)
class History:
    """Everything that happened, oldest first."""

    entries: tuple[Entry, ...]

    def as_json(self) -> list[dict[str, Any]]:
        """Return one object per entry."""
        return [entry.as_json() for entry in self.entries]

    def __str__(self) -> str:
        """Return one line per entry."""
        return "\n".join(map(str, self.entries)) or "no champion was moved, no hold-out looked at"


def read_history(workspace: Path, name: str | None = None) -> History:
    """Return what happened in a workspace, oldest first.

    Args:
        workspace: where the registry is.
        name: registered name to tell of alone; None for all.

    Raises:
        NotRegistered: if the name is not known.
    """
    registry = read_registry(workspace)
    if name is not None and name not in registry.names:
        raise NotRegistered(
            f"{name!r} is not registered; known names: {', '.join(registry.names) or '(none)'}",
            hint="dexsearch history without a name tells of all",
        )
    entries = _entries(registry)
    return History(tuple(entry for entry in entries if name is None or _is_about(entry, name)))


def _entries(registry: Registry) -> list[Entry]:
    shown = {evidence.look: evidence for evidence in registry.evidence}
    counts: dict[str, int] = {}
    entries = []
    for event in registry.happened:
        if isinstance(event, AliasMove):
            entries.append(Entry(event.time, move=event))
            continue
        counts[event.dataset] = n_looks = counts.get(event.dataset, 0) + 1
        evidence = shown.get(event.look)
        entries.append(Entry(event.time, look=event, evidence=evidence, n_looks=n_looks))
    return entries


def _is_about(entry: Entry, name: str) -> bool:
    if entry.move is not None:
        return entry.move.name == name
    sides = () if entry.look is None else (entry.look.a, entry.look.b)
    return any(side.startswith(f"{name}/") for side in sides)


def _told_move(move: AliasMove) -> str:
    to = "removed" if move.version is None else f"version {move.version}"
    before = "" if move.previous is None else f", was {move.previous}"
    how = "forced: " if move.forced else ""
    return f"{move.name}@{move.alias} {to}{before}: {how}{move.reason or '(no reason kept)'}"
