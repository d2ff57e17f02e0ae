"""Between the driver of a search and Ray Tune, whose calls come in through tune_hooks.py.

Tune runs trials, places them and tells when their process is lost. What is tried and who is
stopped is the driver's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from dexsearch.search.actor import ASSIGNMENT, FUNCTION
from dexsearch.search.driver import StudyDriver
from dexsearch.search.losses import told_loss
from dexsearch.search.lost_actors import node_of_lost
from dexsearch.search.newcomers import Newcomers
from dexsearch.search.placement import PlacedWhereFit
from dexsearch.search.reaper import Reaper
from dexsearch.search.retries import Setback
from dexsearch.search.trial import Assignment, Report, TrialFunction
from dexsearch.search.watchdog import Silence

_LOOK_EVERY_S = 0.5


class Bridge:
    """What the hooks of Tune share: the driver, and a fault.

    Tune takes an exception of a scheduler for a failed trial. So the first one is kept here, the
    search is stopped, and `raise_fault` raises it once Tune has ended.
    """

    def __init__(
        self, driver: StudyDriver, function: TrialFunction,
        clock: Callable[[], float] = time.monotonic, newcomers: Newcomers | None = None,
    ) -> None:  # fmt: skip
        """`clock` is in seconds; without `newcomers` trials go to any node."""
        self._newcomers = newcomers
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
        if self._guarded(lambda: self._driver.must_wait):  # which counts the nodes there are
            return None
        assignment = self._guarded(self._driver.next_trial)
        if assignment is None:
            finished: str = Searcher.FINISHED
            return finished
        return {ASSIGNMENT: assignment, FUNCTION: self._function}

    def on_report(self, report: Report, node_id: str | None = None) -> bool:
        """Pass a report on; return whether its trial must stop."""
        return self._guarded(lambda: self._reported(report, node_id)) is not False

    def _reported(self, report: Report, node_id: str | None) -> bool:
        """Blame the node where data cannot be opened, or that saves where nobody sees it."""
        report = replace(report, node=node_id)
        failure, newcomers = report.failure, self._newcomers
        if failure is not None and failure.kind == "data" and newcomers is not None:
            reason = failure.reason.removeprefix("DataError: ")
            if newcomers.refuse(node_id, reason):
                report = replace(report, failure=replace(failure, kind="unfit", reason=reason))
        if newcomers is None:
            return self._driver.on_report(report)
        n_missed = self._driver.checkpoints.n_missed
        must_stop = self._driver.on_report(report)
        if self._driver.checkpoints.n_missed > n_missed:
            newcomers.suspect(node_id)
        return must_stop

    def is_fit(self, node_id: str | None) -> bool:
        """Tell whether a process on a node may take another trial."""
        return self._newcomers is None or node_id is None or self._newcomers.is_fit(node_id)

    def place(self, trial: Trial) -> None:
        """Have the process of a trial begin on a node that is fit for it."""
        newcomers = self._newcomers
        if newcomers is not None:
            asked = trial.placement_group_factory.bundles  # type: ignore[attr-defined]
            trial.update_resources(PlacedWhereFit(asked, lambda: newcomers.selector))

    def on_lost(self, trial: Trial) -> None:
        """Pass on that the process of a trial was lost."""
        setback, reason = self._ended_by_us.get(trial.trial_id) or told_loss(trial)
        node = None if self._newcomers is None else node_of_lost(trial)  # to be refused, or not
        self._guarded(lambda: self._driver.lost(assignment_of(trial), reason, setback, node))

    @property
    def is_stopping(self) -> bool:
        """Whether no further trial is to begin."""
        return self._fault is not None or self._driver.stop_requested

    def take_change(self) -> bool:
        """Tell whether other nodes may take trials than when this was asked last."""
        return self._newcomers is not None and self._newcomers.has_changed()

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
        if self._newcomers is not None:
            self._guarded(self._newcomers.look)
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


def assignment_of(trial: Trial) -> Assignment:
    """Return what a Tune trial was told to do."""
    assignment: Assignment = trial.config[ASSIGNMENT]
    return assignment
