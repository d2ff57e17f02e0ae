"""What `WORKSPACE/registry.jsonl` says: registered generators and their aliases.

The log is the truth and MLflow a projection of it. Its events:

    registered   one generator became version `version` of `name`; the same version again
                 means that its package was written anew
    alias        `alias` of `name` points to `version` from now on; null removes it
    audit        what a search had learned about its pruning when it ended; the newest one counts
    look         the hold-out is about to be opened to compare two generators
    evidence     what that look showed
    replicated   a configuration was trained again with other seeds; the newest one counts

Standard library only, so that listing generators is instant.
"""

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from dexsearch.errors import ConfigurationError, DataError, NotRegistered
from dexsearch.ledger.log import Event, read_events
from dexsearch.registry.entries import (
    AliasMove,
    Evidence,
    Look,
    Registration,
    ReplicatedTrial,
    StudyAudit,
    TargetScores,
)

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "LOG_NAME",
    "PREVIOUS",
    "AliasMove",
    "Evidence",
    "Look",
    "Registration",
    "Registry",
    "ReplicatedTrial",
    "StudyAudit",
    "TargetScores",
    "read_registry",
    "registry_from_events",
]

LOG_NAME = "registry.jsonl"
CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous-champion"
Entry = TypeVar("Entry", Registration, StudyAudit, Look, Evidence, AliasMove, ReplicatedTrial)


@dataclass(frozen=True, slots=True)
class Registry:
    """The registry of one workspace as it stood when it was read."""

    workspace: Path
    versions: tuple[Registration, ...]
    """In the order of their registration."""
    aliases: dict[tuple[str, str], int]
    """(name, alias) -> version."""
    audits: tuple[StudyAudit, ...] = ()
    """Of every search, in the order in which they ended."""
    moves: tuple[AliasMove, ...] = ()
    """Of every alias, in order."""
    looks: tuple[Look, ...] = ()
    """At the hold-outs, in order."""
    evidence: tuple[Evidence, ...] = ()
    """What the looks showed, in order."""
    replicated: tuple[ReplicatedTrial, ...] = ()
    """Configurations that were trained again, in order; the newest of a trial counts."""
    happened: tuple[AliasMove | Look, ...] = ()
    """Moves and looks together, in the order of the log: two may share a millisecond."""

    @property
    def names(self) -> tuple[str, ...]:
        """Registered names in alphabetical order."""
        return tuple(sorted({version.name for version in self.versions}))

    def aliases_of(self, version: Registration) -> tuple[str, ...]:
        """Return the aliases that point to a version, in alphabetical order."""
        return tuple(
            sorted(
                alias
                for (name, alias), number in self.aliases.items()
                if (name, number) == (version.name, version.version)
            )
        )

    def audit_of(self, version: Registration) -> StudyAudit | None:
        """Return the newest audit of the study that a version comes from.

        None for what was registered before audits were kept. Of studies that were begun anew
        under one name it is the one that had begun when the version was registered.
        """
        wanted = (version.study, version.dataset, version.metric)
        mine = [
            audit
            for audit in self.audits
            if (audit.study, audit.dataset, audit.metric) == wanted and audit.begun <= version.time
        ]
        begun = max((audit.begun for audit in mine), default=None)
        return next((audit for audit in reversed(mine) if audit.begun == begun), None)

    def path_of(self, version: Registration) -> Path:
        """Return the absolute folder of a version's package."""
        return (self.workspace / version.package).absolute()

    def groups(self, task: str | None = None) -> tuple[tuple[Registration, ...], ...]:
        """Return comparable versions together, best first; the group used last comes first."""
        together: dict[tuple[str, str, int], list[Registration]] = defaultdict(list)
        for version in self.versions:
            if task is None or version.task == task:
                together[version.group].append(version)
        newest_first = list(reversed(together.values()))  # stays so within a millisecond
        newest_first.sort(key=lambda group: max(v.time for v in group), reverse=True)
        return tuple(
            tuple(sorted(group, key=lambda v: (-v.val_ssim, v.name, v.version)))
            for group in newest_first
        )

    def find(self, wanted: str) -> Registration:
        """Return the version behind `name@alias`, `name/version` or `name` (its champion).

        Raises:
            NotRegistered: if there is none; the message lists what there is.
        """
        name, separator, which = re.fullmatch(r"([^@/]*)([@/]?)(.*)", wanted, re.DOTALL).groups()  # type: ignore[union-attr]
        mine = [version for version in self.versions if version.name == name]
        if not mine:
            raise self._unknown(wanted, name)
        numbers = sorted(version.version for version in mine)
        aliases = {alias: n for (owner, alias), n in self.aliases.items() if owner == name}
        if separator == "/":
            number = int(which) if re.fullmatch(r"[0-9]{1,9}", which) else None
        else:
            number = aliases.get(which or CHAMPION)
        found = [version for version in mine if version.version == number]
        if not found:
            raise NotRegistered(
                f"{wanted!r} is not registered: {name!r} has the versions "
                f"{', '.join(map(str, numbers))} and the aliases "
                f"{', '.join(sorted(aliases)) or '(none)'}",
                hint=f"write {name}@{CHAMPION} or {name}/{numbers[-1]}; dexsearch best lists them",
            )
        return found[0]

    def _unknown(self, wanted: str, name: str) -> NotRegistered:
        if not self.versions:
            return NotRegistered(
                f"{wanted!r} is not registered: {str(self.workspace)!r} has no generators yet",
                hint="dexsearch tune --space quickstart.yaml makes some; "
                "--workspace DIR looks elsewhere",
            )
        close = difflib.get_close_matches(name, self.names, n=1)
        return NotRegistered(
            f"{wanted!r} is not registered; known names: {', '.join(self.names)}",
            hint=f"did you mean {wanted.replace(name, close[0], 1)!r}?"
            if close
            else "dexsearch best lists what is registered",
        )


def read_registry(workspace: Path) -> Registry:
    """Read the registry of a workspace; empty if nothing was registered.

    Raises:
        ConfigurationError: if `workspace` cannot be read as a folder.
        DataError: if the log was damaged by more than a torn last line.
    """
    try:
        events = read_events(workspace / LOG_NAME)
    except OSError as error:
        raise ConfigurationError(
            f"workspace {str(workspace)!r} cannot be read: {error.strerror}",
            hint="name a folder: --workspace DIR",
        ) from None
    return registry_from_events(events, workspace)


def registry_from_events(events: Iterable[Event], workspace: Path) -> Registry:
    """Fold the events of a log; events of other kinds, of a later version, are passed over.

    Raises:
        DataError: if an event lacks a key.
    """
    folded = _Folded()
    for event in events:
        try:
            folded.add(event)
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{workspace / LOG_NAME}: an event cannot be read: {error!r}",
                hint="put the file back from a copy, or delete that line",
            ) from None
    return folded.registry(workspace)


@dataclass(slots=True)
class _Folded:
    """A registry while its events are read."""

    versions: dict[tuple[str, int], Registration] = field(default_factory=dict)
    aliases: dict[tuple[str, str], int] = field(default_factory=dict)
    audits: list[StudyAudit] = field(default_factory=list)
    moves: list[AliasMove] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    replicated: list[ReplicatedTrial] = field(default_factory=list)
    happened: list[AliasMove | Look] = field(default_factory=list)

    def add(self, event: Event) -> None:
        match event["event"]:
            case "registered":
                version = _entry(Registration, event)
                self.versions[version.name, version.version] = version
            case "alias":
                move = _entry(AliasMove, {"reason": "", **event})
                self.moves.append(move)
                self.happened.append(move)
                self.aliases.pop((move.name, move.alias), None)
                if move.version is not None:
                    self.aliases[move.name, move.alias] = move.version
            case "audit":
                self.audits.append(_entry(StudyAudit, event))
            case "look":
                look = _entry(Look, event)
                self.looks.append(look)
                self.happened.append(look)
            case "evidence":
                self.evidence.append(_entry(Evidence, event))
            case "replicated":
                self.replicated.append(_entry(ReplicatedTrial, event))

    def registry(self, workspace: Path) -> Registry:
        return Registry(
            workspace,
            tuple(self.versions.values()),
            self.aliases,
            audits=tuple(self.audits),
            moves=tuple(self.moves),
            looks=tuple(self.looks),
            evidence=tuple(self.evidence),
            replicated=tuple(self.replicated),
            happened=tuple(self.happened),
        )


def _entry(kind: type[Entry], event: Event) -> Entry:
    """Build an entry from the keys of an event that it knows; TypeError where one is missing."""
    return kind(**{f.name: event[f.name] for f in fields(kind) if f.name in event})
