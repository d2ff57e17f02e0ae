"""The main job: data, then search, then registration of the best."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from dexsearch.errors import EnvironmentFault
from dexsearch.jobs.endings import (
    continuing,
    interruption,
    out_of_time,
    refuse_failures,
    refuse_without_locks,
)
from dexsearch.jobs.plan import SearchPlan
from dexsearch.jobs.replicates import Search, run_replicates
from dexsearch.jobs.sync import sync_command
from dexsearch.jobs.tune_result import TuneResult, result_of
from dexsearch.ledger.study import StudyRecord
from dexsearch.registry.address import shown, why_silent
from dexsearch.search.audit import audit
from dexsearch.search.joining import joinable_cluster
from dexsearch.search.signals import told_interruptions

if TYPE_CHECKING:
    from dexsearch.data.store import Dataset
    from dexsearch.registry.record import Registration
    from dexsearch.search.study import StudyOutcome

Tell = Callable[[str], None]
ProgressBar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


def run_search(
    plan: SearchPlan,
    *,
    tell: Tell,
    progress: ProgressBar,
    clock: Callable[[], float] = time.monotonic,
) -> TuneResult:
    """Search, register the best complete trials and bring MLflow up to the ledgers.

    What is complete is registered also when the search was interrupted or another run of it
    was killed, so the same command is the way back from anything. `plan.time_s` runs from here:
    making data counts; registering, which comes after it, does not.

    Args:
        plan: from `plan_search`.
        tell: is given each line that a waiting person wants to read.
        progress: shows a bar while data is made; given the unit, yields what counts.
        clock: tells seconds; for tests.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM, once everything complete is registered.
        SearchFailed: if more than half of the trials failed, or none is complete though time
            was not over; what is complete is registered all the same.
        StudyBusy: if another process works on the study.
        EnvironmentFault: if nothing can be written to the storage, or the cluster does not take
            this process, before anything is made.
    """
    with told_interruptions(continuing(plan)):
        return _run_search(plan, tell=tell, progress=progress, clock=clock)


def _run_search(
    plan: SearchPlan, *, tell: Tell, progress: ProgressBar, clock: Callable[[], float]
) -> TuneResult:
    from dexsearch.search.storage import refuse_unusable_storage

    begun = clock()
    if plan.site.storage is not None:
        refuse_unusable_storage(plan.site.storage, by_writing=True)
    if plan.site.address is not None:
        joinable_cluster(plan.site.address, lambda warning: None)  # told on joining
    _tell_silence(plan, tell)
    dataset = _dataset(plan, tell, progress)

    def search(wanted: SearchPlan) -> "StudyOutcome":
        return _search(wanted, dataset, _time_left(plan, clock() - begun))

    outcome = search(plan)
    if outcome.at_once:
        raise interruption(plan, outcome)
    registered = _register(plan, outcome.record, dataset, tell)
    _bring_mlflow_up(plan, tell, in_haste=outcome.interrupted is not None)
    if outcome.interrupted is not None:
        raise interruption(plan, outcome)
    stopped = out_of_time(plan, outcome, wanted=plan.space.trials)
    refuse_failures(outcome.record, stopped)
    result = result_of(plan, outcome.record, registered, stopped)
    if plan.replicates == 0:
        return result
    if stopped:
        tell("the replicates wait until the search is over")
        return result
    return _with_replicates(plan, outcome.record, result, search, tell)


def _search(plan: SearchPlan, dataset: "Dataset", time_s: float | None) -> "StudyOutcome":
    from dexsearch.registry.flushing import flushing
    from dexsearch.search.study import run_study

    with flushing(plan.folder, plan.workspace, plan.tracking_uri):
        return run_study(
            plan.space,
            study=plan.study,
            folder=plan.folder,
            dataset=dataset.path,
            dataset_digest=dataset.manifest.digest,
            size_px=plan.size_px,
            site=plan.site,
            time_s=time_s,
        )


def _tell_silence(plan: SearchPlan, tell: Tell) -> None:
    """Say at once that MLflow does not answer; the search needs it not."""
    reason = why_silent(plan.tracking_uri)
    if reason is not None:
        tell(
            f"MLflow at {shown(str(plan.tracking_uri))} does not answer ({reason}); the search "
            "goes on, its ledger holds everything"
        )


def _time_left(plan: SearchPlan, passed_s: float) -> float | None:
    return None if plan.time_s is None else max(0.0, plan.time_s - passed_s)


def _with_replicates(
    plan: SearchPlan, source: StudyRecord, result: TuneResult, search: Search, tell: Tell
) -> TuneResult:
    """Train the best again with new seeds; add what that shows to what the search showed."""
    outcome, replication = run_replicates(plan, source, search=search, tell=tell)
    if not outcome.at_once:
        _bring_mlflow_up(plan, tell, in_haste=outcome.interrupted is not None)
    if outcome.interrupted is not None:
        raise interruption(plan, outcome)
    stopped = out_of_time(plan, outcome, wanted=int(outcome.record.space["trials"]))
    refuse_failures(outcome.record, stopped)
    return replace(result, replicates=replication, stopped=stopped)


def _dataset(plan: SearchPlan, tell: Tell, progress: ProgressBar) -> "Dataset":
    """Open the dataset; make the phantom cohort that the space describes on first use."""
    from dexsearch.data.store import open_dataset
    from dexsearch.jobs.data import make_phantom

    phantom = plan.space.data.phantom
    if phantom is None or not plan.made_on_start:
        dataset = open_dataset(plan.dataset)
        dataset.check_files()
        return dataset
    tell(f"making {phantom.subjects} phantom subjects in {phantom.poses} poses: {plan.dataset}")
    with progress("views") as count:
        return make_phantom(plan.dataset, phantom, progress=count)


def _register(
    plan: SearchPlan, record: StudyRecord, dataset: "Dataset", tell: Tell
) -> "tuple[Registration, ...]":
    from dexsearch.jobs.register import register_study
    from dexsearch.registry.store import keep_audit

    refuse_without_locks(plan)
    if record.ranking():
        tell("registering the best complete trials, with pictures and baselines")
    versions = register_study(plan.workspace, record, dataset, n=plan.space.n_register, tell=tell)
    if record.trials:
        found = audit(record)
        keep_audit(plan.workspace, record, found.as_json(), str(found))
    return versions


def _bring_mlflow_up(plan: SearchPlan, tell: Tell, *, in_haste: bool) -> None:
    """Show everything in MLflow; a search that was asked to stop waits for it in haste only."""
    from dexsearch.registry.flushing import IN_HASTE_S, LONGEST_S, bring_up

    tell("bringing MLflow up to the ledgers")
    longest_s = IN_HASTE_S if in_haste else LONGEST_S
    try:
        bring_up(plan.workspace, plan.tracking_uri, tell=tell, longest_s=longest_s)
    except EnvironmentFault as error:  # the ledgers hold everything, so nothing is lost
        tell(f"MLflow was not brought up to date: {error}")
        tell(f"next: {sync_command(plan.workspace, plan.tracking_uri)}")
