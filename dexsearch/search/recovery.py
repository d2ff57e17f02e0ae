"""What a search does about trials that fell: begins them again, gives them up, or stops itself.

The classes of failures and how often each is tried again are in retries.py.
"""

from collections.abc import Callable

from dexsearch.errors import DataError, EnvironmentFault
from dexsearch.search.disk_wait import DiskWait
from dexsearch.search.early_failures import EarlyFailures
from dexsearch.search.journal import Journal
from dexsearch.search.live_trial import LiveTrial
from dexsearch.search.retries import MAX_REFUSED_ENDS, Setback
from dexsearch.search.sharing import RunningTrials
from dexsearch.search.trial import Failure
from dexsearch.search.watchdog import Watchdog


class Recovery:
    """Decides on trials that fell, and keeps those that wait to be handed out."""

    def __init__(
        self, journal: Journal, running: RunningTrials, disk: DiskWait, watchdog: Watchdog,
        *, fail: Callable[[LiveTrial, Failure], None], clock: Callable[[], float],
    ) -> None:  # fmt: skip
        """`fail` ends a trial as failed; `clock` is in seconds."""
        self._waiting: list[tuple[float, LiveTrial]] = []
        self._journal = journal
        self._running = running
        self._disk = disk
        self._watchdog = watchdog
        self._fail = fail
        self._clock = clock
        self._early = EarlyFailures(fail)

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
        now = self._clock()
        return any(not_before <= now for not_before, _ in self._waiting)

    def wait(self, trial: LiveTrial, pause_s: float = 0.0) -> None:
        """Let a trial wait to be handed out, at least for so long."""
        self._waiting.append((self._clock() + pause_s, trial))

    def pop(self) -> LiveTrial:
        """Take the first of the waiting trials whose time has come."""
        now = self._clock()
        entry = next(entry for entry in self._waiting if entry[0] <= now)
        self._waiting.remove(entry)
        return entry[1]

    def look(self) -> None:
        """Look at what changes by itself.

        Raises:
            EnvironmentFault: if space on a disk has been short for too long.
        """
        self._disk.look()

    def handed_out(self, trial: LiveTrial) -> None:
        """Note that a trial begins."""
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
                self._refuse_to_train_for_ever(trial, failure)
                self._disk.failed(failure.reason, answers=setback == "disk")
                self._again(trial, setback, failure.reason)
            case "denied":
                self._denied(trial, failure.reason)
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
        self._early.settle()

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
        self._early.raise_common_cause()

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
        self._running.end(trial.number)
        self._watchdog.end(trial.number)
        self._disk.put_back(trial.number)

    def _refuse_to_train_for_ever(self, trial: LiveTrial, failure: Failure) -> None:
        """Stop the search where the same last checkpoint is refused again and again."""
        if not failure.is_trained or (failure.kind == "disk" and self._disk.is_waiting):
            return
        trial.setbacks.refused_ends += 1
        if trial.setbacks.refused_ends >= MAX_REFUSED_ENDS:
            raise EnvironmentFault(
                f"trial {trial.number} is trained to its end and cannot be saved: "
                f"{failure.reason}",
                hint="see what the storage refuses: a quota, the size of a request, its keys; "
                "the same command then continues the search",
            )

    def _denied(self, trial: LiveTrial, reason: str) -> None:
        """Try once more, for keys that are just being renewed; then nobody is let in."""
        trial.setbacks.denials += 1
        if trial.setbacks.denials > 1:
            raise EnvironmentFault(
                f"trial {trial.number} is not let into the storage: {reason}",
                hint="renew the keys in the environment of every node, such as AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN or GOOGLE_APPLICATION_CREDENTIALS, "
                "or the rights of the machine's role; the same command then continues the search",
            )
        self._again(trial, "exception", reason, pause_s=2.0)

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
