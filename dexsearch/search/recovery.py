"""What a search does about trials that fell: begins them again, gives them up, or stops itself.

The classes of failures and how often each is tried again are in retries.py.
"""

from collections.abc import Callable

from dexsearch.errors import DataError, EnvironmentFault
from dexsearch.search.disk_wait import DiskWait
from dexsearch.search.early_failures import EarlyFailures
from dexsearch.search.journal import Journal
from dexsearch.search.live_trial import LiveTrial
from dexsearch.search.refused_checkpoints import (
    refuse_to_ask_for_ever,
    refuse_to_train_for_ever,
)
from dexsearch.search.retries import MAX_IN_VAIN, MAX_IN_VAIN_WITH_EPOCHS, Setback, Setbacks
from dexsearch.search.sharing import RunningTrials
from dexsearch.search.trial import Failure
from dexsearch.search.watchdog import Watchdog


class Recovery:
    """Decides on trials that fell, and keeps those that wait to be handed out."""

    def __init__(
        self, journal: Journal, running: RunningTrials, disk: DiskWait, watchdog: Watchdog,
        *, fail: Callable[[LiveTrial, Failure], None], clock: Callable[[], float],
        has_new: Callable[[], bool],
    ) -> None:  # fmt: skip
        """Prepare for trials that fall.

        Args:
            journal: is told of each.
            running: the trials that run.
            disk: what a search does where nothing can be saved.
            watchdog: watches the trials that run.
            fail: ends a trial as failed.
            clock: in seconds.
            has_new: tells whether trials are left that were never begun.
        """
        self._waiting: list[tuple[float, LiveTrial]] = []
        self._journal = journal
        self._running = running
        self._disk = disk
        self._watchdog = watchdog
        self._fail = fail
        self._clock = clock
        self._has_new = has_new
        self._suspect: int | None = None
        self._early = EarlyFailures(
            fail, anew=self._anew, refuse_node=lambda node, why: running.refuse_node(node, why)
        )

    @property
    def holds(self) -> bool:
        """Whether nothing may be handed out now, for want of disk space."""
        return self._disk.holds

    @property
    def n_waiting(self) -> int:
        """How many trials wait to be handed out, due or not."""
        return len(self._waiting)

    @property
    def has_due(self) -> bool:
        """Whether `pop` has a trial."""
        return self._due() is not None

    def wait(self, trial: LiveTrial, pause_s: float = 0.0) -> None:
        """Let a trial wait to be handed out, at least for so long."""
        self._waiting.append((self._clock() + pause_s, trial))

    def pop(self) -> LiveTrial:
        """Take the first of the waiting trials whose time has come."""
        due = self._due()
        if due is None:
            raise ValueError("pop() while no trial is due")
        self._waiting = [entry for entry in self._waiting if entry[1] is not due]
        return due

    def _due(self) -> LiveTrial | None:
        """Return the trial to hand out next; suspects last, and one of them at a time."""
        now = self._clock()
        due = [trial for not_before, trial in self._waiting if not_before <= now]
        usual = next((trial for trial in due if not trial.is_suspect), None)
        if usual is not None or not due or self._has_new() or self._suspect is not None:
            return usual
        return min(due, key=lambda trial: trial.n_in_vain)

    def take_up(self, trial: LiveTrial) -> None:
        """Let an unfinished trial of an earlier process wait, or give it up."""
        if trial.n_in_vain < (MAX_IN_VAIN_WITH_EPOCHS if trial.values else MAX_IN_VAIN):
            self.wait(trial)
            return
        told = (
            f"the whole search was killed {trial.n_in_vain} times after it was handed out again, "
            "without a new epoch"
        )
        self._fail(trial, Failure("infrastructure", told))

    def look(self) -> None:
        """Look at what changes by itself.

        Raises:
            EnvironmentFault: if space on a disk has been short for too long.
        """
        self._disk.look()

    def handed_out(self, trial: LiveTrial) -> None:
        """Note that a trial begins."""
        if trial.is_suspect:
            self._suspect = trial.number
        trial.node = None
        self._running.begin(trial.number)
        self._disk.handed_out(trial.number)

    def ended(self, trial: LiveTrial) -> None:
        """Note that a trial is over."""
        self._disk.ended(trial.number)
        self._stopped(trial)

    def failed(self, trial: LiveTrial, failure: Failure) -> None:
        """Decide on a trial that says itself why it ended.

        Raises:
            DataError: if every other trial would meet the same data; this one is to be continued.
            DexSearchError: if it is one too many that failed like others before their first epoch.
        """
        match failure.kind:
            case "data":
                raise DataError(failure.reason.partition(": ")[2] or failure.reason)
            case "memory":
                self._out_of_memory(trial, failure)
            case "disk" | "storage" as setback:
                refuse_to_train_for_ever(trial, failure, is_waiting=self._disk.is_waiting)
                self._disk.failed(failure.reason, answers=setback == "disk")
                self._again(trial, setback, failure.reason)
            case "denied":
                refuse_to_ask_for_ever(trial, failure)
                self._again(trial, "exception", failure.reason, pause_s=2.0)
            case "unfit":
                self._again(trial, "unfit", failure.reason)
            case "exception":
                self._again_or_fail(trial, "exception", failure)
            case "superseded":
                self.lost(trial, "lost", failure.reason)
            case _:
                self._fail(trial, failure)

    def lost(self, trial: LiveTrial, setback: Setback, reason: str) -> None:
        """Decide on a trial whose process has gone."""
        self._again_or_fail(trial, setback, Failure("infrastructure", reason))

    def is_under_way(self, trial: LiveTrial) -> None:
        """Note that a trial reported an epoch that it had not reached before."""
        trial.setbacks.forgive()
        trial.is_under_way = True
        self._suspect = None if self._suspect == trial.number else self._suspect
        self._early.gets_on(trial.node)

    def goes_on(self, trial: LiveTrial, *, is_saved: bool) -> None:
        """Note a report that tells of no failure; `is_saved`: a checkpoint was stored for it."""
        self._disk.heard(trial.number, is_saved=is_saved)

    def unsaved(self, trial: LiveTrial) -> None:
        """Put a trial back whose last checkpoint is not in the storage, to train that part again.

        Raises:
            EnvironmentFault: the second time.
        """
        reason = "its last checkpoint does not appear in the storage, as this machine sees it"
        if trial.setbacks.is_unsaved:
            raise EnvironmentFault(
                f"trial {trial.number} was trained twice, and {reason}",
                hint="let this machine and the nodes see the same --storage; the same command "
                "then continues the search",
            )
        trial.setbacks.is_unsaved = True
        self._again(trial, "unsaved", reason)

    def withdrawn(self, trial: LiveTrial, *, is_over: bool) -> None:
        """Let a trial wait whose process never began; it comes again unless all `is_over`."""
        self._stop_running(trial)
        if is_over:
            self._journal.withdrawn(trial.number)
        trial.was_put_back = trial.was_put_back or not is_over
        self.wait(trial)

    def settle(self) -> None:
        """Give up what was held back, because no other trial can tell any more."""
        self._early.settle()

    def _again_or_fail(self, trial: LiveTrial, setback: Setback, failure: Failure) -> None:
        pause_s = trial.setbacks.pause_s(setback)
        if pause_s is not None:
            self._again(trial, setback, failure.reason, pause_s)
            return
        if setback != "exception":
            failure = Failure(failure.kind, f"{failure.reason}, again and again")
        if not self._early.holds(trial, failure):
            self._fail(trial, failure)
            return
        self._stop_running(trial)
        self._journal.held_back(trial, failure)
        self._early.raise_common_cause(others_run=len(self._running) > 0)

    def _anew(self, trial: LiveTrial) -> None:
        """Let a trial wait as if it had never fallen."""
        trial.setbacks = Setbacks()
        self.wait(trial)

    def _again(
        self, trial: LiveTrial, setback: Setback, reason: str, pause_s: float = 0.0
    ) -> None:
        """Put a trial back, to be continued from its checkpoint."""
        self._stop_running(trial)
        trial.was_put_back = True
        self._journal.interrupted(trial.number, reason, setback, pause_s)
        self.wait(trial, pause_s)

    def _stop_running(self, trial: LiveTrial) -> None:
        """Pass over whatever the process of this attempt may still report."""
        trial.attempt += 1
        self._stopped(trial)

    def _stopped(self, trial: LiveTrial) -> None:
        self._suspect = None if self._suspect == trial.number else self._suspect
        self._running.end(trial.number)
        self._watchdog.end(trial.number)
        self._disk.put_back(trial.number)

    def _out_of_memory(self, trial: LiveTrial, failure: Failure) -> None:
        """Put a trial back where its neighbours on the GPU may be to blame; fail it otherwise."""
        before = self._running.sharing
        told = self._running.put_back(trial.number)
        if told is None:
            self._fail(trial, failure)
            return
        if self._running.sharing != before:
            self._journal.sharing(self._running.sharing.per_gpu)
        self._again(trial, "memory", told)
