"""The driver of a search as Ray Tune sees it: a searcher and a scheduler.

Tune runs trials, places them and starts them again when their process is lost. What is tried and
who is stopped is the driver's; Tune's own records are never read.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from dexsearch.search.actor import ASSIGNMENT, FUNCTION, REPORT
from dexsearch.search.driver import StudyDriver
from dexsearch.search.losses import told_loss
from dexsearch.search.reaper import Reaper
from dexsearch.search.retries import Setback
from dexsearch.search.trial import Assignment, Report, TrialFunction
from dexsearch.search.tune_actors import end_waiting_trials, forget_actor, processes
from dexsearch.search.watchdog import Silence

_HARMLESS = ("numeric", "data", "configuration")  # failures that leave a process as it was
_LOOK_EVERY_S = 0.5


class Bridge:
    """What searcher and scheduler share: the driver, and a fault.

    Tune takes an exception of a scheduler for a failed trial. So the first one is kept here, the
    search is stopped, and `raise_fault` raises it once Tune has ended.
    """

    def __init__(
        self, driver: StudyDriver, function: TrialFunction,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`clock` is in seconds."""
        self._driver = driver
        self._function = function
        self._clock = clock
        self._reaper = Reaper(clock)
        self._ended_by_us: dict[str, tuple[Setback, str]] = {}
        self._next_look = 0.0
        self._fault: Exception | None = None

    def on_ready(self) -> None:
        """Pass on that Tune is set up."""
        self._driver.on_backend_ready()

    def suggest(self) -> dict[str, Any] | str | None:
        """Return the next Tune trial's configuration, None for not now, or Tune's FINISHED."""
        self._guarded(self._driver.tick)
        if self._fault is None and self._driver.must_wait:
            return None
        assignment = self._guarded(self._driver.next_trial)
        if assignment is None:
            finished: str = Searcher.FINISHED
            return finished
        return {ASSIGNMENT: assignment, FUNCTION: self._function}

    def on_report(self, report: Report) -> bool:
        """Pass a report on; return whether its trial must stop."""
        return self._guarded(lambda: self._driver.on_report(report)) is not False

    def on_lost(self, trial: Trial) -> None:
        """Pass on that the process of a trial was lost."""
        setback, reason = self._ended_by_us.get(trial.trial_id) or told_loss(trial)
        self._guarded(lambda: self._driver.lost(assignment_of(trial), reason, setback))

    @property
    def is_stopping(self) -> bool:
        """Whether no further trial is to begin."""
        return self._fault is not None or self._driver.stop_requested

    def on_withdrawn(self, trials: Sequence[Trial]) -> None:
        """Pass on that trials were ended which had waited for room."""
        for trial in trials:
            self._guarded(partial(self._driver.withdrawn, assignment_of(trial)))

    def look_at(self, processes: Callable[[], Mapping[Trial, Any]]) -> None:
        """Look for trials that hang, and end their processes; every half second at most.

        After a fault as well, or a trial that hangs would keep the search from ending.
        """
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY_S
        self._guarded(self._driver.tick)
        watchdog = self._driver.watchdog
        begun = {assignment_of(trial).number: (trial, p) for trial, p in processes().items()}
        for number in begun:
            if number not in watchdog and number in self._driver.running:
                watchdog.begin(number)
        for silence in watchdog.silent():
            if silence.number in begun:
                self._attempt(partial(self._end, *begun[silence.number], silence))
        self._attempt(self._reaper.look)

    def raise_fault(self) -> None:
        """Raise what ended the search early, if anything did."""
        if self._fault is not None:
            raise self._fault

    def _end(self, trial: Trial, process: Any, silence: Silence) -> None:  # noqa: ANN401
        """End the process of a trial that hangs; Tune hears of that as of any lost process."""
        ended = self._ended_by_us
        ended[trial.trial_id] = ("hung", f"{silence}, so its process was ended")
        self._driver.tell(f"trial {silence.number} hangs: {silence}; ending its process")

        def note_silent_node() -> None:
            ended[trial.trial_id] = ("node", f"{silence}, and its node does not answer")

        self._reaper.end(process, note_silent_node)

    def _guarded(self, act: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Return what `act` does, unless there was a fault."""
        return self._attempt(act) if self._fault is None else None

    def _attempt(self, act: Callable[[], Any]) -> Any:  # noqa: ANN401
        try:
            return act()
        except Exception as error:  # kept, and raised by `raise_fault`
            self._fault = self._fault or error
            self._driver.request_stop()
        return None


class StudySearcher(Searcher):
    """Hands the driver's assignments to Tune."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401  (a dict, or Tune's FINISHED)
        """Return the next assignment; called only when a slot is free."""
        return self._bridge.suggest()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: reports go through the scheduler, losses through the callback."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the ledger has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the ledger has it."""

    def __getstate__(self) -> dict[str, Any]:
        """Keep the driver out of Tune's files."""
        return {}


class StudyScheduler(FIFOScheduler):
    """Passes reports to the driver and stops what it wants stopped."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bridge = bridge
        self._added: list[Trial] = []

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:  # noqa: ANN401
        """Return a trial that was added since the last turn of Tune's loop, and only then.

        Tune gives the process of a trial that has ended to the trial that is named here, and ends
        the process that is being started for it. Were the waiting trials named again and again,
        most slots would stay empty for as long as trials are shorter than a start. Tune starts
        what it was told of by itself.
        """
        self._bridge.look_at(partial(processes, tune_controller))
        if self._bridge.is_stopping:
            self._bridge.on_withdrawn(end_waiting_trials(tune_controller))
        added, self._added = self._added, []
        return next((trial for trial in added if trial.status == Trial.PENDING), None)

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        """Ask for as much of a GPU as the trial may take now: less was enough for earlier ones."""
        self._added.append(trial)
        asked = trial.placement_group_factory.required_resources  # type: ignore[attr-defined]
        share = assignment_of(trial).gpu_share
        if 0 < asked.get("GPU", 0.0) < share:
            trial.update_resources({"cpu": asked.get("CPU", 0.0), "gpu": share})

    def on_trial_result(
        self,
        tune_controller: object,
        trial: Trial,
        result: dict[str, Any],
    ) -> str:
        """Pass on a report."""
        stop = self._bridge.on_report(result[REPORT])
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_complete(
        self,
        tune_controller: object,
        trial: Trial,
        result: dict[str, Any],
    ) -> None:
        """Pass on the last report, of which Tune does not tell `on_trial_result`."""
        if REPORT not in result:
            return
        report: Report = result[REPORT]
        self._bridge.on_report(report)
        if report.failure is not None and report.failure.kind not in _HARMLESS:
            forget_actor(tune_controller, trial)

    def __getstate__(self) -> dict[str, Any]:
        """Keep the driver out of Tune's files."""
        return {}


class SearchCallback(tune.Callback):
    """Hears of what searcher and scheduler are not told."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def setup(
        self,
        stop: tune.Stopper | None = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        **info: Any,  # noqa: ANN401
    ) -> None:
        """Take back the signals that Tune has just taken."""
        self._bridge.on_ready()

    def on_trial_error(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        **info: Any,  # noqa: ANN401
    ) -> None:
        """Pass on that the process of a trial was lost; Tune itself tries nothing again."""
        self._bridge.on_lost(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Keep the driver out of Tune's files."""
        return {}


def assignment_of(trial: Trial) -> Assignment:
    """Return what a Tune trial was told to do."""
    assignment: Assignment = trial.config[ASSIGNMENT]
    return assignment
