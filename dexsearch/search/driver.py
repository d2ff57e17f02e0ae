"""The driver of a search: hands out trials, hears what they report, decides who goes on.

What happens is the journal's to pass on, what is done about trials that fell is recovery.py's.
Reports are keyed by (trial, epoch), so one that comes twice changes nothing. Knows no Ray: a
backend asks `next_trial`, passes on each report, and stops what it is told to.
"""

import time
from collections.abc import Callable

from dexsearch.config.space import SearchSpace
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import State, StudyRecord, TrialRecord
from dexsearch.search.disk_wait import DiskWait, PatientLog
from dexsearch.search.journal import Journal
from dexsearch.search.limits import broken_limit
from dexsearch.search.live_trial import LiveTrial, unusable
from dexsearch.search.optuna_study import OptunaStudy
from dexsearch.search.progress import Progress
from dexsearch.search.recovery import Recovery
from dexsearch.search.retries import Setback
from dexsearch.search.sharing import GpuSharing, RunningTrials
from dexsearch.search.space import enqueued_params
from dexsearch.search.storage import FinalCheckpoints
from dexsearch.search.trial import Assignment, Failure, Record, Report
from dexsearch.search.watchdog import Watchdog


class StudyDriver:
    """One search in progress; not safe for use by several threads."""

    def __init__(
        self, space: SearchSpace, record: StudyRecord, log: EventLog, study: OptunaStudy,
        *, storage: str, progress: Progress, is_time_over: Callable[[], bool] = lambda: False,
        follow: Callable[[], None] = lambda: None,
        shortage: Callable[[], str | None] = lambda: None, token: int = 0,
        check_lease: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Take up a search where its ledger ends.

        `follow` is called after each report, once everything of it is decided; `shortage` says
        which disk is short of space, None if none is; `token` is the lease's, and `check_lease`
        raises StudyBusy once another process has taken the study over; `clock` is in seconds.
        """
        self.space = space
        self.stop_requested = False
        self.out_of_time = False
        self.running = RunningTrials()
        self.watchdog = Watchdog(space.resources.hang_s, clock)
        self.tell = progress.message
        self.on_backend_ready: Callable[[], None] = lambda: None
        self.exit_code: Callable[[], int | None] = lambda: None
        """What a signal asked this process to end with, if one came."""
        self.farewell: Callable[[], None] = lambda: None
        """To be called before this process is ended because Ray has."""
        self._per_gpu = record.per_gpu
        self._study = study
        self.checkpoints = FinalCheckpoints(storage, space.epochs, record.folder, self.tell)
        disk = DiskWait(
            progress.message, longest_s=space.resources.disk_wait_s, shortage=shortage,
            is_stopped=lambda: self.stop_requested or is_time_over(), clock=clock,
        )  # fmt: skip
        self.journal = Journal(
            PatientLog(log, disk), study, progress, limits=space.limits,
            logs=record.folder / "logs",
        )  # fmt: skip
        self._recovery = Recovery(
            self.journal, self.running, disk, self.watchdog, fail=self._fail, clock=clock,
            has_new=lambda: self._n_trials < space.trials,
        )  # fmt: skip
        self._token, self._check_lease = token, check_lease
        self._storage, self._is_time_over, self._follow = storage, is_time_over, follow
        self._n_trials = len(record.trials)
        self._live: dict[int, LiveTrial] = {}
        for trial in record.in_state("running"):
            self._take_up(trial)

    @property
    def n_left(self) -> int:
        """How many trials have not ended, those not yet begun included."""
        return len(self._live) + max(0, self.space.trials - self._n_trials)

    def request_stop(self) -> None:
        """Hand out nothing more and stop each running trial at its next report."""
        self.stop_requested = True

    def share_gpus(self, sharing: GpuSharing) -> None:
        """Take note of how many trials may share a GPU; no more than was found to fit before."""
        self.running.sharing = sharing.at_most(self._per_gpu)

    @property
    def must_wait(self) -> bool:
        """Whether something has to happen, or time to pass, before `next_trial` is asked."""
        if self.stop_requested:
            return False
        is_any_ready = self._recovery.has_due or self._n_trials < self.space.trials
        # Until the last trial has ended any of them may be put back.
        may_come_back = len(self.running) + self._recovery.n_waiting > 0
        is_last_out = may_come_back and not is_any_ready
        return self.running.is_full or self._recovery.holds or is_last_out

    def tick(self) -> None:
        """Look at what changes by itself: disks and the clock.

        Raises:
            EnvironmentFault: if space on a disk has been short for too long.
        """
        if self.stop_requested:
            self.journal.acquit()  # now, because who is slow to end may be killed
        else:
            self._recovery.look()
        self._look_at_the_clock()

    def next_trial(self) -> Assignment | None:
        """Return the next trial to run: unfinished ones first, then new ones; None at the end.

        Raises:
            StudyBusy: if another process has taken the study over.
        """
        self._look_at_the_clock()
        while not self.stop_requested:
            self._check_lease()
            if self._recovery.has_due:
                trial = self._recovery.pop()
                self.journal.continued(trial)
                return self._assignment(trial)
            if self._n_trials >= self.space.trials:
                self._recovery.settle()
                return None
            begun = self._begin()
            if begun is not None:
                return self._assignment(begun)
        return None

    def on_report(self, report: Report) -> bool:
        """Remember a report; return whether the trial must not take another step.

        Its epochs are judged one by one, and what follows a verdict is dropped, so a search
        decides alike however many epochs a report carries.
        """
        trial = self._live.get(report.number)
        if trial is None or trial.attempt != report.attempt:
            return True
        trial.node = report.node
        if report.failure is None:
            self._recovery.goes_on(trial, is_saved=report.saved or report.last)
        for remark in report.remarks:
            self.tell(f"trial {trial.number}: {remark}")
        n_known = len(trial.values)
        for record in report.records:
            if report.number in self._live:
                self._on_record(trial, record)
        self.watchdog.heard(trial.number, len(trial.values) - n_known)
        if report.failure is not None and report.number in self._live:
            if report.failure.kind == "superseded":
                self._outrank(report.failure)
            self._recovery.failed(trial, report.failure)
        self._follow()
        self._look_at_the_clock()
        return self.stop_requested or report.number not in self.running

    def _outrank(self, superseded: Failure) -> None:
        """Let the next attempt supersede who superseded the current one of our own study.

        Whoever has a higher token while the lease is still ours is of a study of the same name
        whose folder was lost.

        Raises:
            StudyBusy: if another process has taken the study over: it is right then.
        """
        self._check_lease()
        if superseded.token > self._token:
            self._token = superseded.token + 1

    def _look_at_the_clock(self) -> None:
        """Stop the search once its time is over, unless nothing is left to do."""
        if not self.stop_requested and self.n_left and self._is_time_over():
            self.out_of_time = True
            self.tell("the time is over; the same command continues the search")
            self.request_stop()

    def lost(
        self, lost: Assignment, reason: str, setback: Setback = "lost", node: str | None = None
    ) -> None:
        """Begin a trial again whose process has gone, or give it up if that happens too often.

        `node` is where it was, if that is known better than by its last report.
        """
        trial = self._live.get(lost.number)
        if trial is None or trial.attempt != lost.attempt or self.stop_requested:
            return
        trial.node = node or trial.node
        self._recovery.lost(trial, setback, reason)
        self._follow()

    def withdrawn(self, waiting: Assignment) -> None:
        """Take back a trial that waited for room and whose process never began."""
        trial = self._live.get(waiting.number)
        if trial is not None and trial.attempt == waiting.attempt:
            self._recovery.withdrawn(trial, is_over=self.stop_requested)

    def _take_up(self, record: TrialRecord) -> None:
        """Take up an unfinished trial of an earlier process; end it if only that was left."""
        trial = LiveTrial.of(record, self.space.objective)
        self._live[trial.number] = trial
        self._study.attach(trial.number)
        if self._ended_by_limit(trial):
            return
        is_trained = record.last_epoch >= self.space.epochs
        is_unsaved = is_trained and self.checkpoints.is_missing(trial.number)
        if (is_trained or record.number == self._study.unjudged) and not is_unsaved:
            self._judge(trial, record.last_epoch)
        if record.number >= self.space.trials:
            self._live.pop(trial.number, None)
        elif trial.number in self._live:
            self._recovery.take_up(trial)

    def _begin(self) -> LiveTrial | None:
        """Ask for a new trial; None if its configuration cannot be trained."""
        enqueued = enqueued_params(self.space, self._n_trials)
        number, params = self._study.ask(enqueued)
        self._n_trials = number + 1
        trial, problem = LiveTrial.proposed(self.space, number, params)
        self.journal.started(trial, params, enqueued=enqueued is not None)
        self._live[number] = trial
        if problem is not None:
            self._fail(trial, Failure("configuration", problem))
            return None
        return None if self._ended_by_limit(trial) else trial

    def _on_record(self, trial: LiveTrial, record: Record) -> None:
        epoch = int(record["epoch"])
        if epoch in trial.values:
            if epoch >= self.space.epochs:  # it was put back, because it had not been saved
                self._end(trial, "complete")
            return
        failure = unusable(record, self.space.objective)
        if failure is not None:
            self._fail(trial, failure)
            return
        self.journal.epoch(trial, record, float(record[self.space.objective]))
        self._recovery.is_under_way(trial)
        self._judge(trial, epoch)

    def _judge(self, trial: LiveTrial, epoch: int) -> None:
        """End a trial over a limit or complete, or that the pruner wants stopped and may stop."""
        if self._ended_by_limit(trial):
            return
        if epoch >= self.space.epochs:
            self._end(trial, "complete")
        elif trial.would_prune_at is None and self._study.should_prune(trial.number):
            if trial.immune:
                self.journal.spared(trial, epoch)
            else:
                self._end(trial, "pruned", reason=f"{self.space.pruner.kind} at {epoch}")

    def _ended_by_limit(self, trial: LiveTrial) -> bool:
        """End a trial that breaks a limit of the space; return whether it does."""
        reason = broken_limit(
            self.space.limits, n_parameters=trial.n_parameters, latency_ms=trial.latency_ms
        )
        if reason is not None:
            self._end(trial, "pruned", reason=reason, kind="limit")
        return reason is not None

    def _fail(self, trial: LiveTrial, failure: Failure) -> None:
        self.journal.failed(trial, failure)
        self._forget(trial)

    def _end(
        self, trial: LiveTrial, state: State, reason: str | None = None, kind: str | None = None
    ) -> None:
        checkpoint = self.checkpoints.of(trial.number) if state == "complete" else None
        if state == "complete" and checkpoint is None and self.checkpoints.is_promised:
            self._recovery.unsaved(trial)
            return
        self.journal.ended(trial, state, reason=reason, kind=kind, checkpoint=checkpoint)
        self._forget(trial)

    def _forget(self, trial: LiveTrial) -> None:
        del self._live[trial.number]
        self._recovery.ended(trial)

    def _assignment(self, trial: LiveTrial) -> Assignment:
        self._recovery.handed_out(trial)
        return trial.assignment(
            self.space, self._storage, gpu_share=self.running.sharing.share, token=self._token
        )
