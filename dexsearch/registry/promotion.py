"""Move the champion of a name, and put it back: under the lock of the log, read back, with why.

Order of the moves: `previous-champion` first, then `champion`, so that a crash in between leaves
the champion where it was. A `challenger` that has won is none any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsearch.errors import ConfigurationError, EnvironmentFault, NotRegistered, StudyBusy
from dexsearch.registry.record import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    Registry,
    read_registry,
    registry_from_events,
)
from dexsearch.registry.store import open_log


@dataclass(frozen=True, slots=True)
class Why:
    """On what a move rests."""

    reason: str
    look: str | None = None
    """The look at the hold-out that it rests on."""
    forced: bool = False
    """Whether a person moved it without such evidence."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A champion that was moved."""

    name: str
    version: int
    """The champion now."""
    previous: int | None
    """The champion before."""
    why: Why


def move_champion(
    workspace: Path, name: str, version: int, *, expected: int | None, why: Why
) -> Moved:
    """Point `champion` to a version, and `previous-champion` to where it pointed.

    Args:
        workspace: where the log is.
        name: registered name.
        version: of that name.
        expected: where the alias has to point for the reason to hold; None: nowhere.
        why: is recorded.

    Raises:
        StudyBusy: if the alias points elsewhere by now; nothing is moved.
        EnvironmentFault: if the log does not say afterwards what was written.
    """
    with open_log(workspace) as log:
        aliases = registry_from_events(log.events_at_opening, workspace).aliases
        found = aliases.get((name, CHAMPION))
        if found != expected:
            raise StudyBusy(
                f"{name}@{CHAMPION} is version {found} by now, but the evidence is about version "
                f"{expected}; nothing was moved",
                hint="the same command compares with the new champion",
            )
        moves: list[tuple[str, int | None]] = [(PREVIOUS, found), (CHAMPION, version)]
        if found is None:
            del moves[0]
        if aliases.get((name, CHALLENGER)) == version:
            moves.append((CHALLENGER, None))
        for alias, number in moves:
            log.append(_event(name, alias, number, aliases.get((name, alias)), why))
        _read_back(workspace, name, moves)
    return Moved(name, version, found, why)


def previous_champion(registry: Registry, name: str) -> tuple[int, int]:
    """Return the version of the champion of a name and that of the one before it.

    Raises:
        NotRegistered: if the name is not known.
        ConfigurationError: if there is nothing to go back to.
    """
    if name not in registry.names:
        raise NotRegistered(
            f"{name!r} is not registered; known names: {', '.join(registry.names) or '(none)'}",
            hint="dexsearch best lists what is registered",
        )
    champion = registry.aliases.get((name, CHAMPION))
    previous = registry.aliases.get((name, PREVIOUS))
    if champion is None or previous is None or champion == previous:
        raise ConfigurationError(
            f"{name} has nothing to go back to: {CHAMPION} is version {champion}, {PREVIOUS} is "
            f"{previous}",
            hint="dexsearch history shows every move; dexsearch promote NAME/VERSION --force "
            "--reason TEXT moves it anywhere",
        )
    return champion, previous


def _event(
    name: str, alias: str, version: int | None, before: int | None, why: Why
) -> dict[str, Any]:
    return {
        "event": "alias",
        "name": name,
        "alias": alias,
        "version": version,
        "reason": why.reason,
        "previous": before,
        "look": why.look,
        "forced": why.forced,
    }


def _read_back(workspace: Path, name: str, moves: Sequence[tuple[str, int | None]]) -> None:
    """Look whether the log on the disk says what was just written."""
    aliases = read_registry(workspace).aliases
    for alias, version in moves:
        found = aliases.get((name, alias))
        if found != version:
            raise EnvironmentFault(
                f"{name}@{alias} was written as version {version}, but the registry says {found} "
                "when it is read again",
                hint="the disk may be failing, or another program replaced registry.jsonl",
            )
