"""How a `tune` may end other than well, and what is told of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dexsearch.errors import EnvironmentFault, Interrupted, SearchFailed, Terminated
from dexsearch.jobs.plan import SearchPlan
from dexsearch.jobs.status import summarise
from dexsearch.ledger.log import lock_of
from dexsearch.ledger.study import LEDGER_NAME, StudyRecord
from dexsearch.locking import has_locks
from dexsearch.registry.address import shown
from dexsearch.search.signals import typed_command
from dexsearch.wording import duration

if TYPE_CHECKING:
    from dexsearch.search.study import StudyOutcome


def counted(trials: Mapping[str, int]) -> str:
    """Return how many trials are in each state; nothing runs any more when this is told."""
    names = {state: "unfinished" if state == "running" else state for state in trials}
    return ", ".join(f"{count} {names[state]}" for state, count in trials.items() if count)


def continuing(plan: SearchPlan) -> str:
    """Return the hint how to go on; it shows no password of MLflow's address."""
    command = typed_command()
    if plan.tracking_uri is not None:
        command = command.replace(plan.tracking_uri, shown(plan.tracking_uri))
    return f"the same command continues where it stopped: {command}"


def interruption(plan: SearchPlan, outcome: "StudyOutcome") -> Interrupted:
    """Return the error of a search that a signal stopped, with the command that continues it."""
    status = summarise(outcome.record)
    counts = counted(status.trials)
    kind = Terminated if outcome.interrupted == Terminated.exit_code else Interrupted
    return kind(
        f"stopped by request; study {outcome.record.name}: {counts or 'no trial yet'}",
        hint=continuing(plan),
    )


def out_of_time(plan: SearchPlan, outcome: "StudyOutcome", *, wanted: int) -> str | None:
    """Say that a search for `wanted` trials stopped because time was over, if that is so."""
    if not outcome.out_of_time or plan.time_s is None:
        return None
    record = outcome.record
    unfinished = len(record.in_state("running")) + max(0, wanted - len(record.trials))
    nothing = "" if record.ranking() else ", nothing is complete yet"
    return (
        f"stopped after {duration(plan.time_s)} as asked: {unfinished} trials unfinished"
        f"{nothing}; the same command continues"
    )


def refuse_failures(record: StudyRecord, stopped: str | None) -> None:
    """Raise SearchFailed if more failed than not, or if it ended with nothing complete."""
    failed = record.in_state("failed")
    n_complete = len(record.ranking())
    if (n_complete or stopped) and 2 * len(failed) <= len(record.trials):
        return
    reason = f"; trial {failed[0].number}: {failed[0].reason}" if failed else ""
    raise SearchFailed(
        f"study {record.name!r} ended with {n_complete} complete, "
        f"{len(record.in_state('pruned'))} pruned and {len(failed)} failed trials{reason}",
        hint=f"the ledger has each reason: {record.folder / 'ledger.jsonl'}",
    )


def refuse_without_locks(plan: SearchPlan) -> None:
    """Refuse to register where files cannot be locked; searching needs no locks."""
    if not has_locks(lock_of(plan.folder / LEDGER_NAME)):
        raise EnvironmentFault(
            f"the search is over, but the file system of {plan.workspace} cannot lock files, "
            "which registering needs",
            hint="copy the workspace to one that can, and type the same command with it as the "
            "--workspace: nothing is trained again",
        )
