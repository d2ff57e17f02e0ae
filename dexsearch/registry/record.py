"""What `WORKSPACE/registry.jsonl` says: registered generators and their aliases.

The log is the truth and MLflow a projection of it. Its events:

    registered   one generator became version `version` of `name`; the same version again
                 means that its package was written anew
    alias        `alias` of `name` points to `version` from now on; null removes it
    audit        what a search had learned about its pruning when it ended; the newest one counts

Standard library only, so that listing generators is instant.
"""

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dexsearch.errors import ConfigurationError, DataError, NotRegistered
from dexsearch.ledger.log import Event, read_events
from dexsearch.ledger.study import StudyRecord, TrialRecord

LOG_NAME = "registry.jsonl"
CHAMPION = "champion"
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
class Registry:
    """The registry of one workspace as it stood when it was read."""

    workspace: Path
    versions: tuple[Registration, ...]
    """In the order of their registration."""
    aliases: dict[tuple[str, str], int]
    """(name, alias) -> version."""
    audits: tuple[StudyAudit, ...] = ()
    """Of every search, in the order in which they ended."""

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
    """Fold the events of a log."""
    known = [field.name for field in fields(Registration)]
    told = [field.name for field in fields(StudyAudit)]
    versions: dict[tuple[str, int], Registration] = {}
    aliases: dict[tuple[str, str], int] = {}
    audits: list[StudyAudit] = []
    for event in events:
        try:
            match event["event"]:
                case "registered":
                    version = Registration(**{key: event[key] for key in known})
                    versions[version.name, version.version] = version
                case "alias":
                    aliases.pop((event["name"], event["alias"]), None)
                    if event["version"] is not None:
                        aliases[event["name"], event["alias"]] = event["version"]
                case "audit":
                    audits.append(StudyAudit(**{key: event[key] for key in told}))
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{workspace / LOG_NAME}: an event cannot be read: {error!r}",
                hint="put the file back from a copy, or delete that line",
            ) from None
    return Registry(workspace, tuple(versions.values()), aliases, tuple(audits))
