"""Which waiting trials and idle processes Tune keeps once a node may take no more trials."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.air.execution._internal import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.tune.execution.tune_controller import TrialRunnerWrapper
from ray.tune.utils.object_cache import _ObjectCache

from dexsearch.search.actor import ASSIGNMENT, NODE, REPORT
from dexsearch.search.bridge import Bridge
from dexsearch.search.newcomers import Newcomers
from dexsearch.search.preflight_room import Node
from dexsearch.search.trial import Assignment, Report
from dexsearch.search.tune_hooks import StudyScheduler
from dexsearch.search.watchdog import Watchdog


class Controller:
    """Tune's, as far as its schedulers and tune_actors.py see it; its cache is Tune's own."""

    def __init__(self) -> None:
        self._trial_to_actor: dict[Any, TrackedActor] = {}
        self._started_actors: set[TrackedActor] = set()
        self._actor_manager = RayActorManager(cast("Any", None))
        self._actor_cache: Any = _ObjectCache(may_keep_one=True)
        self.trials: list[Any] = []
        self.ended: list[TrackedActor] = []

    def get_live_trials(self) -> list[Any]:
        return self.trials

    def stop_trial(self, trial: Any) -> None:  # noqa: ANN401
        assert trial.has_folder, "Tune cannot list it at the end"
        self.trials.remove(trial)

    def _remove_actor(self, tracked_actor: TrackedActor) -> None:
        self.ended.append(tracked_actor)

    def trial(self, number: int) -> Any:  # noqa: ANN401
        """Return a trial that waits for room."""
        self.trials.append(Waiting({ASSIGNMENT: Assignment(number, {}, 9, "")}))
        return self.trials[-1]

    def idle(self, scheduler: StudyScheduler, number: int, node_id: str) -> TrackedActor:
        """Return the process of a trial that has just ended on a node; Tune keeps it."""
        actor = TrackedActor(number)
        self._trial_to_actor["over"] = actor
        self._started_actors.add(actor)
        scheduler.on_trial_complete(
            self, cast("Any", "over"), {REPORT: Report(number, last=True), NODE: node_id}
        )
        del self._trial_to_actor["over"]
        self._actor_cache.increase_max("a trial")
        assert self._actor_cache.cache_object("a trial", actor)
        return actor


class Waiting:
    """As much of Tune's trial as is asked for, hashable; it has no folder yet."""

    status = "PENDING"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.has_folder = False

    def init_local_path(self) -> None:
        self.has_folder = True


@pytest.fixture
def withdrawn() -> list[int]:
    return []


@pytest.fixture
def newcomers() -> Newcomers:
    nodes = [Node(name, f"10.0.0.{n}", name, 4.0, 0.0) for n, name in enumerate("ab")]
    return Newcomers(
        ["a", "b"], lambda node, is_stopped: None, has_room=lambda node: True,
        tell=lambda text: None, patience_s=20.0, living=lambda: nodes,
    )  # fmt: skip


@pytest.fixture
def scheduler(newcomers: Newcomers, withdrawn: list[int]) -> StudyScheduler:
    driver = SimpleNamespace(
        watchdog=Watchdog(60.0), running=set(), stop_requested=False, tick=lambda: None,
        withdrawn=lambda assignment: withdrawn.append(assignment.number),
        on_report=lambda report: True, checkpoints=SimpleNamespace(n_missed=0),
    )  # fmt: skip
    return StudyScheduler(Bridge(cast("Any", driver), cast("Any", None), newcomers=newcomers))


@pytest.mark.parametrize(
    "take_off", [Newcomers.suspect, lambda newcomers, node: newcomers.refuse(node, "no data")]
)
def test_no_trial_reaches_a_node_that_was_suspected_or_refused(
    take_off: Callable[[Newcomers, str], object], newcomers: Newcomers,
    scheduler: StudyScheduler, withdrawn: list[int],
) -> None:  # fmt: skip
    """The process it has in reserve is ended, and what waits is asked for anew, elsewhere."""
    controller = Controller()
    wrapped = TrialRunnerWrapper(cast("Any", controller), None, {"get_live_trials", "stop_trial"})
    on_a, on_b = (controller.idle(scheduler, n, node) for n, node in enumerate("ab"))
    controller.trial(7)
    scheduler.choose_trial_to_run(wrapped)
    assert (controller.ended, withdrawn) == ([], [])
    take_off(newcomers, "a")
    scheduler.choose_trial_to_run(wrapped)
    assert (controller.ended, withdrawn) == ([on_a], [7])
    assert controller._actor_cache.num_cached_objects == 1
    assert controller._actor_cache.pop_cached_object("a trial") is on_b
    scheduler.choose_trial_to_run(wrapped)
    assert controller.ended == [on_a]
