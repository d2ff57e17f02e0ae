"""The driver of a search: hands out trials, hears what they report, decides who goes on.

What happens is the journal's to pass on. Reports are keyed by (trial, epoch), so one that comes
twice changes nothing. Knows no Ray: a backend asks `next_trial`, passes on each report, and stops
what it is told to.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from dexsearch.config.space import SearchSpace
from dexsearch.errors import ConfigurationError, DataError
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import State, StudyRecord, TrialRecord
from dexsearch.search.journal import Journal
from dexsearch.search.limits import broken_limit, counted_parameters
from dexsearch.search.live_trial import LiveTrial
from dexsearch.search.optuna_study import OptunaStudy
from dexsearch.search.progress import Progress
from dexsearch.search.sharing import RunningTrials
from dexsearch.search.space import enqueued_params, is_immune, trial_seed
from dexsearch.search.storage import checkpoint_for_ledger, trial_location
from dexsearch.search.trial import Assignment, Failure, Record, Report


class Backend(Protocol):
    """Where trials run."""

    def run(self, driver: "StudyDriver") -> None:
        """Run trials until `driver.next_trial()` is None and none is left.

        A trial whose process is lost is started again a few times, then reported with
        `driver.lost`. Exceptions of the driver end the search and reach the caller.
        """
        ...


class StudyDriver:
    """One search in progress; not safe for use by several threads."""

    def __init__(
        self, space: SearchSpace, record: StudyRecord, log: EventLog, study: OptunaStudy,
        *, storage: str, progress: Progress, is_time_over: Callable[[], bool] = lambda: False,
        follow: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """`follow` is called after each report, once everything of it is decided."""
        self.space = space
        self.stop_requested = False
        self.out_of_time = False
        self.running = RunningTrials()
        self.on_backend_ready: Callable[[], None] = lambda: None
        self.is_backend_dead: Callable[[], bool] = lambda: False
        self._study = study
        self._folder = record.folder
        self._journal = Journal(
            log, study, progress, limits=space.limits, logs=record.folder / "logs"
        )
        self._storage = storage
        self._is_time_over = is_time_over
        self._follow = follow
        self._n_trials = len(record.trials)
        self._live: dict[int, LiveTrial] = {}
        self._waiting: list[LiveTrial] = []
        for trial in record.in_state("running"):
            self._take_up(trial)

    @property
    def n_left(self) -> int:
        """How many trials have not ended, those not yet begun included."""
        return len(self._live) + max(0, self.space.trials - self._n_trials)

    def request_stop(self) -> None:
        """Hand out nothing more and stop each running trial at its next report."""
        self.stop_requested = True

    @property
    def must_wait(self) -> bool:
        """Whether a running trial has to end, or be put back, before `next_trial` is asked."""
        if self.stop_requested:
            return False
        none_left = not self._waiting and self._n_trials >= self.space.trials
        return self.running.is_full or (none_left and self.running.may_be_put_back)

    def next_trial(self) -> Assignment | None:
        """Return the next trial to run: unfinished ones first, then new ones; None at the end."""
        self._look_at_the_clock()
        while not self.stop_requested:
            if self._waiting:
                trial = self._waiting.pop(0)
                self._journal.continued(trial)
                return self._assignment(trial)
            if self._n_trials >= self.space.trials:
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
        if trial is None:
            return True
        for record in report.records:
            if report.number in self._live:
                self._on_record(trial, record)
        if report.failure is not None and report.number in self._live:
            self._on_failure(trial, report.failure)
        self._follow()
        self._look_at_the_clock()
        return self.stop_requested or report.number not in self.running

    def _look_at_the_clock(self) -> None:
        """Stop the search once its time is over, unless nothing is left to do."""
        if not self.stop_requested and self.n_left and self._is_time_over():
            self.out_of_time = True
            self._journal.message("the time is over; the same command continues the search")
            self.request_stop()

    def lost(self, number: int, reason: str) -> None:
        """Give up a trial whose process was lost too often."""
        trial = self._live.get(number)
        if trial is not None and not self.stop_requested:
            self._fail(trial, Failure("infrastructure", reason))

    def restarted(self, number: int, reason: str) -> None:
        """Note that a trial was started again because its process was lost."""
        self._journal.interrupted(number, reason, "; continuing from its checkpoint")

    def _take_up(self, record: TrialRecord) -> None:
        """Take up an unfinished trial of an earlier process; end it if only that was left."""
        trial = LiveTrial.of(record, self.space.objective)
        self._live[trial.number] = trial
        self._study.attach(trial.number)
        if self._ended_by_limit(trial):
            return
        if record.last_epoch >= self.space.epochs or record.number == self._study.unjudged:
            self._judge(trial, record.last_epoch)
        if record.number >= self.space.trials:
            self._live.pop(trial.number, None)
        elif trial.number in self._live:
            self._waiting.append(trial)

    def _begin(self) -> LiveTrial | None:
        """Ask for a new trial; None if its configuration cannot be trained."""
        enqueued = enqueued_params(self.space, self._n_trials)
        number, params = self._study.ask(enqueued)
        self._n_trials = number + 1
        trial = LiveTrial(number, immune=is_immune(self.space, number), config={})
        problem = None
        try:
            config = self.space.config_for(params, seed=trial_seed(self.space, number))
            trial.config = config.model_dump(mode="json")
            trial.n_parameters = counted_parameters(self.space.limits, config)
        except ConfigurationError as error:
            problem = str(error)
        self._journal.started(trial, params, enqueued=enqueued is not None)
        self._live[number] = trial
        if problem is not None:
            self._fail(trial, Failure("configuration", problem))
            return None
        return None if self._ended_by_limit(trial) else trial

    def _on_record(self, trial: LiveTrial, record: Record) -> None:
        epoch, value = int(record["epoch"]), record.get(self.space.objective)
        if epoch in trial.values:
            return
        if value is None:
            problem = f"its records have no {self.space.objective}; choose another objective"
            self._fail(trial, Failure("configuration", problem))
        elif not math.isfinite(value):
            problem = f"{self.space.objective} is {value} at epoch {epoch}"
            self._fail(trial, Failure("numeric", problem))
        else:
            self._journal.epoch(trial, record, float(value))
            self._judge(trial, epoch)

    def _judge(self, trial: LiveTrial, epoch: int) -> None:
        """End a trial over a limit or complete, or that the pruner wants stopped and may stop."""
        if self._ended_by_limit(trial):
            return
        if epoch >= self.space.epochs:
            self._end(trial, "complete")
        elif trial.would_prune_at is None and self._study.should_prune(trial.number):
            if trial.immune:
                self._journal.spared(trial, epoch)
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

    def _on_failure(self, trial: LiveTrial, failure: Failure) -> None:
        """Fail a trial, or put it back where its neighbours on the GPU may be to blame."""
        told = self.running.put_back(trial.number) if failure.kind == "memory" else None
        if told is None:
            self._fail(trial, failure)
        else:
            trial.was_put_back = True
            self._waiting.append(trial)
            self._journal.interrupted(trial.number, told)

    def _fail(self, trial: LiveTrial, failure: Failure) -> None:
        if failure.kind == "data":
            # Every other trial would meet the same data; this one is left to be continued.
            raise DataError(failure.reason.partition(": ")[2] or failure.reason)
        self._journal.failed(trial, failure)
        self._forget(trial)

    def _end(
        self, trial: LiveTrial, state: State, reason: str | None = None, kind: str | None = None
    ) -> None:
        checkpoint = self._checkpoint(trial) if state == "complete" else None
        self._journal.ended(trial, state, reason=reason, kind=kind, checkpoint=checkpoint)
        self._forget(trial)

    def _forget(self, trial: LiveTrial) -> None:
        del self._live[trial.number]
        self.running.end(trial.number)

    def _assignment(self, trial: LiveTrial) -> Assignment:
        self.running.begin(trial.number)
        return Assignment(
            number=trial.number,
            config=dict(trial.config),
            epochs=self.space.epochs,
            checkpoints=trial_location(self._storage, trial.number),
            decide_from=trial.decide_from(self.space),
            gpu_share=self.running.sharing.share,
        )

    def _checkpoint(self, trial: LiveTrial) -> str | None:
        """Return where the final weights are, as the ledger names it."""
        location = trial_location(self._storage, trial.number)
        return checkpoint_for_ledger(location, self.space.epochs, self._folder)
