"""What Ray Tune calls in a search: a searcher, a scheduler and a callback of its own kinds.

Each passes on to the bridge what Tune says, and to Tune what the bridge answers; Tune's own
records are never read.
"""

from functools import partial
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from dexsearch.search.actor import NODE, REPORT
from dexsearch.search.bridge import Bridge, assignment_of
from dexsearch.search.trial import Report
from dexsearch.search.tune_actors import (
    actor_of,
    drop_cached_actors,
    end_waiting_trials,
    forget_actor,
    processes,
)

_HARMLESS = ("numeric", "configuration")  # failures that leave a process as it was


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
        self._node_of: dict[Any, str | None] = {}

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:  # noqa: ANN401
        """Return a trial that was added since the last turn of Tune's loop, and only then.

        Tune gives the process of a trial that has ended to the trial that is named here, and ends
        the process that is being started for it. Were the waiting trials named again and again,
        most slots would stay empty for as long as trials are shorter than a start. Tune starts
        what it was told of by itself.
        """
        self._bridge.look_at(partial(processes, tune_controller))
        if self._bridge.take_change() or self._bridge.is_stopping:
            self._bridge.on_withdrawn(end_waiting_trials(tune_controller))
        if not all(map(self._is_fit, self._node_of)):
            drop_cached_actors(tune_controller, self._is_fit)
            self._node_of = {actor: n for actor, n in self._node_of.items() if self._is_fit(actor)}
        added, self._added = self._added, []
        return next((trial for trial in added if trial.status == Trial.PENDING), None)

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        """Ask for as much of a GPU as the trial may take now: less was enough for earlier ones."""
        self._added.append(trial)
        asked = trial.placement_group_factory.required_resources  # type: ignore[attr-defined]
        share = assignment_of(trial).gpu_share
        if 0 < asked.get("GPU", 0.0) < share:
            trial.update_resources({"cpu": asked.get("CPU", 0.0), "gpu": share})
        self._bridge.place(trial)

    def on_trial_result(
        self,
        tune_controller: object,
        trial: Trial,
        result: dict[str, Any],
    ) -> str:
        """Pass on a report."""
        stop = self._bridge.on_report(result[REPORT], result.get(NODE))
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
        node_id = result.get(NODE)
        self._bridge.on_report(report, node_id)
        is_spoilt = report.failure is not None and report.failure.kind not in _HARMLESS
        if is_spoilt or not self._bridge.is_fit(node_id):
            forget_actor(tune_controller, trial)
        self._node_of[actor_of(tune_controller, trial)] = node_id

    def _is_fit(self, actor: object) -> bool:
        """Tell whether a process may have another trial: its node may have been refused since."""
        return self._bridge.is_fit(self._node_of.get(actor))

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
