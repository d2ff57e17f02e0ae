"""The driver of a search as Ray Tune sees it: a searcher and a scheduler.

Tune runs trials, places them and starts them again when their process is lost. What is tried and
who is stopped is the driver's; Tune's own records are never read.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from dexsearch.search.actor import ASSIGNMENT, FUNCTION, REPORT
from dexsearch.search.driver import StudyDriver
from dexsearch.search.trial import Assignment, Report, TrialFunction

_HARMLESS = ("numeric", "data", "configuration")  # failures that leave a process as it was
_DIED = "The actor died"  # how Ray begins to tell of a lost process


class Bridge:
    """What searcher and scheduler share: the driver, which Tune trial is which, and a fault.

    Tune takes an exception of a scheduler for a failed trial. So the first one is kept here, the
    search is stopped, and `raise_fault` raises it once Tune has ended.
    """

    def __init__(self, driver: StudyDriver, function: TrialFunction) -> None:
        self._driver = driver
        self._function = function
        self._numbers: dict[str, int] = {}
        self._fault: Exception | None = None

    def on_ready(self) -> None:
        """Pass on that Tune is set up."""
        self._driver.on_backend_ready()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next Tune trial's configuration, None for not now, or Tune's FINISHED."""
        if self._fault is None and self._driver.must_wait:
            return None
        assignment = self._guarded(self._driver.next_trial)
        if assignment is None:
            finished: str = Searcher.FINISHED
            return finished
        self._numbers[trial_id] = assignment.number
        return {ASSIGNMENT: assignment, FUNCTION: self._function}

    def on_report(self, report: Report) -> bool:
        """Pass a report on; return whether its trial must stop."""
        return self._guarded(lambda: self._driver.on_report(report)) is not False

    def on_lost(self, trial: Trial, *, for_good: bool) -> None:
        """Pass on that the process of a trial was lost, and whether Tune gives the trial up."""
        number = self._numbers[trial.trial_id]
        if for_good:
            self._guarded(
                lambda: self._driver.lost(number, f"{told_loss(trial)}, again and again")
            )
        else:
            self._guarded(lambda: self._driver.restarted(number, told_loss(trial)))

    def raise_fault(self) -> None:
        """Raise what ended the search early, if anything did."""
        if self._fault is not None:
            raise self._fault

    def _guarded(self, act: Callable[[], Any]) -> Any:  # noqa: ANN401
        if self._fault is None:
            try:
                return act()
            except Exception as error:  # kept, and raised by `raise_fault`
                self._fault = error
                self._driver.request_stop()
        return None


class StudySearcher(Searcher):
    """Hands the driver's assignments to Tune."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401  (a dict, or Tune's FINISHED)
        """Return the next assignment; called only when a slot is free."""
        return self._bridge.suggest(trial_id)

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

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        """Ask for as much of a GPU as the trial may take now: less was enough for earlier ones."""
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

    def on_trial_recover(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        **info: Any,  # noqa: ANN401
    ) -> None:
        """Pass on that a trial starts again."""
        self._bridge.on_lost(trial, for_good=False)

    def on_trial_error(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        **info: Any,  # noqa: ANN401
    ) -> None:
        """Pass on that a trial was lost too often."""
        self._bridge.on_lost(trial, for_good=True)

    def __getstate__(self) -> dict[str, Any]:
        """Keep the driver out of Tune's files."""
        return {}


def forget_actor(tune_controller: Any, trial: Trial) -> None:  # noqa: ANN401
    """Have Tune end the actor of a trial that is over, instead of giving it to the next trial.

    Whatever a device was left in (an error of CUDA stays until its process ends) ends with it.
    Not done by `reset_config`: where that returns False, Tune takes the next trial for failed,
    without starting it again or telling anybody. Tune passes on only actors that it has noted as
    started; this is the one place that touches that private note.
    """
    tune_controller._started_actors.discard(tune_controller._trial_to_actor.get(trial))


def told_loss(trial: Trial) -> str:
    """Say in a line why Tune takes a trial for failed; Tune's text file of errors has the rest.

    The pickled error beside it is not read: it may need a module that the driver lacks.
    """
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return "its process was lost"
    newest = re.split(r"^Failure # \d+ \(occurred at .*\)$", text, flags=re.MULTILINE)[-1]
    lines = [line.strip() for line in newest.splitlines() if line.strip()]
    if not lines or (_DIED in lines[0] and "creation task" not in lines[0]):
        return "its process was lost"
    return f"its process raised {lines[-1][:300]}"


def assignment_of(trial: Trial) -> Assignment:
    """Return what a Tune trial was told to do."""
    assignment: Assignment = trial.config[ASSIGNMENT]
    return assignment
