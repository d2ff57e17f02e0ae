"""What the registry knows of a version beside its registration: hold-out evidence, replicates."""

from dataclasses import dataclass
from typing import Any

from dexsearch.registry.entries import Evidence, Look, Registration, ReplicatedTrial
from dexsearch.registry.record import Registry

_NUMBERS = ("difference", "low", "high", "n_subjects")


@dataclass(frozen=True, slots=True)
class Holdout:
    """A look at the hold-out, and what it showed."""

    look: Look
    evidence: Evidence

    @property
    def difference(self) -> float | None:
        """Mean over hold-out subjects of `a` minus `b`; None where none was computed."""
        return self._number("difference")

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its 95 % interval."""
        low, high = self._number("low"), self._number("high")
        return None if low is None or high is None else (low, high)

    def as_json(self) -> dict[str, Any]:
        """Return who was compared with whom, the verdict, and the difference with its interval."""
        look = self.look
        return {
            "a": look.a,
            "b": look.b,
            "target": look.target,
            "purpose": look.purpose,
            "verdict": self.evidence.verdict,
            **{name: self._number(name) for name in _NUMBERS},
            "look": look.look,
            "time": self.evidence.time,
        }

    def _number(self, name: str) -> float | None:
        value = self.evidence.result.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def version_label(version: Registration) -> str:
    """Return the name of a version that never moves: `name/version`."""
    return f"{version.name}/{version.version}"


def holdout_of(
    registry: Registry, version: Registration, opponent: Registration | None = None
) -> Holdout | None:
    """Return the newest hold-out evidence of a version, whichever side of it the version was on.

    Args:
        registry: the record.
        version: whose evidence.
        opponent: only evidence against this version, with `version` as the one in question and
            with all its targets.
    """
    label = version_label(version)
    looks = {look.look: look for look in registry.looks}
    for evidence in reversed(registry.evidence):
        look = looks.get(evidence.look)
        if look is None:
            continue
        wanted = (
            label in (look.a, look.b)
            if opponent is None
            else (look.a, look.b) == (label, version_label(opponent))
            and look.target in (None, version.task)
        )
        if wanted:
            return Holdout(look, evidence)
    return None


def replicates_of(registry: Registry, version: Registration) -> ReplicatedTrial | None:
    """Return the newest replicates of the configuration that a version was trained with.

    A study that was begun anew under its name has trials of its own, so the study has to be the
    one that had begun when the version was registered.
    """
    wanted = (version.study, version.trial)
    mine = [
        entry
        for entry in registry.replicated
        if (entry.study, entry.trial) == wanted and entry.begun <= version.time
    ]
    audit = registry.audit_of(version)
    begun = audit.begun if audit else max((entry.begun for entry in mine), default=None)
    return next((entry for entry in reversed(mine) if entry.begun == begun), None)
