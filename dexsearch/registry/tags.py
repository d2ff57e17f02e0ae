"""What of our record stands in the tags of an MLflow version, and reading it back.

With these tags and MLflow's aliases, `best --tracking-uri` knows a registry as its workspace
does. A tag with an empty value says that there is nothing to tell.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dexsearch.errors import DataError
from dexsearch.registry.entries import Registration, ReplicatedTrial, StudyAudit
from dexsearch.registry.record import CHAMPION, Registry
from dexsearch.registry.standing import Holdout, holdout_of, replicates_of, version_label

REGISTRATION = "dexsearch.registration"
AUDIT = "dexsearch.study_audit"
HOLDOUT = "dexsearch.holdout"
REPLICATED = "dexsearch.replicated"
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class TaggedVersion:
    """What the tags of one version tell."""

    registration: Registration
    audit: StudyAudit | None
    holdouts: tuple[Holdout, ...]
    replicated: ReplicatedTrial | None


def version_tags(registry: Registry, version: Registration) -> dict[str, str]:
    """Return the tags that tell of a version what `dexsearch best` shows.

    Evidence is cut to its numbers and words: scores of single subjects stay in the workspace.
    """
    audit = registry.audit_of(version)
    holdouts = [asdict(_in_short(one)) for one in _holdouts(registry, version)]
    replicated = replicates_of(registry, version)
    return {
        REGISTRATION: _text(asdict(version)),
        AUDIT: _text(asdict(audit)) if audit else "",
        HOLDOUT: _text(holdouts) if holdouts else "",
        REPLICATED: _text(asdict(replicated)) if replicated else "",
    }


def tagged_version(name: str, number: int, tags: Mapping[str, str]) -> TaggedVersion | None:
    """Return what the tags of a version tell; None if it is not ours.

    Args:
        name: of the registered model in MLflow.
        number: of the version in MLflow, for messages; ours may be another one.
        tags: of the version.

    Raises:
        DataError: if they cannot be read, or tell of another model.
    """
    if not tags.get(REGISTRATION):
        return None
    where = f"{name}/{number}"
    registration = _entry(Registration, tags[REGISTRATION], where, REGISTRATION)
    if registration.name != name:
        raise DataError(
            f"the tag {REGISTRATION} of {where} tells of {version_label(registration)}",
            hint="dexsearch sync in its workspace writes the tags anew",
        )
    return TaggedVersion(
        registration,
        _optional(StudyAudit, tags, where, AUDIT),
        _optional(tuple[Holdout, ...], tags, where, HOLDOUT) or (),
        _optional(ReplicatedTrial, tags, where, REPLICATED),
    )


def _holdouts(registry: Registry, version: Registration) -> list[Holdout]:
    """Return the newest evidence of a version, and the newest against the champion of its name."""
    number = registry.aliases.get((version.name, CHAMPION))
    champion = [v for v in registry.versions if (v.name, v.version) == (version.name, number)]
    found = [holdout_of(registry, version)]
    found += [holdout_of(registry, version, opponent) for opponent in champion]
    by_look = {one.look.look: one for one in found if one is not None}
    return list(by_look.values())


def _in_short(holdout: Holdout) -> Holdout:
    """Leave out lists and tables: a tag is for what fits on a line."""
    short: dict[str, Any] = {
        key: value
        for key, value in holdout.evidence.result.items()
        if value is None or isinstance(value, int | float | str)
    }
    return replace(holdout, evidence=replace(holdout.evidence, result=short))


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _optional(kind: type[Entry], tags: Mapping[str, str], where: str, tag: str) -> Entry | None:
    return _entry(kind, tags[tag], where, tag) if tags.get(tag) else None


def _entry(kind: type[Entry], text: str, where: str, tag: str) -> Entry:
    """Read an entry with every type checked: anybody may write tags on a server."""
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise DataError(
            f"the tag {tag} of {where} cannot be read: {place}: {first['msg']}",
            hint="dexsearch sync in its workspace writes the tags anew",
        ) from None
