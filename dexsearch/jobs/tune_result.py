"""How a search ended and what it registered, for people and for programs."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from dexsearch.jobs.endings import counted
from dexsearch.jobs.plan import SearchPlan
from dexsearch.jobs.replication import Replication
from dexsearch.jobs.status import summarise
from dexsearch.ledger.study import StudyRecord
from dexsearch.search.audit import Audit
from dexsearch.wording import workspace_flag

if TYPE_CHECKING:
    from dexsearch.registry.record import Registration


@dataclass(frozen=True, slots=True)
class TuneResult:
    """How a search ended and what it registered."""

    study: str
    trials: dict[str, int]
    best_trial: int | None
    best_value: float | None
    objective: str
    audit: Audit
    registered: tuple[str, ...]
    pictures: str | None
    stopped: str | None
    """Why the search stopped before its last trial; None if it did not."""
    next: tuple[str, ...]
    replicates: Replication | None = None
    """What training the best again with new seeds has shown; None where nobody asked."""

    def as_json(self) -> dict[str, Any]:
        """Return what `--format json` prints."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        again = self.replicates.as_json() if self.replicates else None
        audit_told = {"audit": self.audit.as_json(), "audit_text": str(self.audit)}
        return {**told, **audit_told, "replicates": again}

    def __str__(self) -> str:
        """Return the text for people."""
        lines = [f"study {self.study}: {counted(self.trials)}"]
        if self.best_value is not None:
            lines.append(f"best: trial {self.best_trial}, {self.objective} {self.best_value:.4f}")
        lines.append(str(self.audit))
        lines.append(f"registered: {', '.join(self.registered) or 'nothing'}")
        if self.pictures:
            lines.append(f"pictures: {self.pictures}")
        if self.replicates:
            lines.append(str(self.replicates))
        if self.stopped:
            lines.append(self.stopped)
        lines += [f"next: {command}" for command in self.next]
        return "\n".join(lines)


def result_of(
    plan: SearchPlan,
    record: StudyRecord,
    registered: "tuple[Registration, ...]",
    stopped: str | None,
) -> TuneResult:
    """Return how a search ended, from its record and what was registered of it."""
    from dexsearch.jobs.register import promotions

    status = summarise(record)
    pictures = plan.workspace / registered[0].package / "pictures" if registered else None
    return TuneResult(
        study=plan.study,
        trials=dict(status.trials),
        best_trial=status.best_trial,
        best_value=status.best_value,
        objective=record.objective,
        audit=status.audit,
        registered=tuple(f"{version.name}/{version.version}" for version in registered),
        pictures=str(pictures) if pictures else None,
        stopped=stopped,
        next=(
            f"dexsearch {'best' if registered else 'status'}{workspace_flag(plan.workspace)}",
            *promotions(plan.workspace, registered),
        ),
    )
