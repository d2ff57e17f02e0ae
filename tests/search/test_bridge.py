"""What the driver is told of Tune's errors, and which actors Tune may use again; no Ray starts."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.air.execution._internal import RayActorManager
from ray.exceptions import (
    ActorDiedError,
    ActorPlacementGroupRemoved,
    ActorUnavailableError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    RayError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)
from ray.tune.execution.tune_controller import TrialRunnerWrapper
from ray.tune.search import Searcher

from dexsearch.errors import EnvironmentFault
from dexsearch.search.actor import ASSIGNMENT, NODE, REPORT
from dexsearch.search.bridge import Bridge
from dexsearch.search.driver import StudyDriver
from dexsearch.search.losses import told_loss
from dexsearch.search.packing import n_concurrent
from dexsearch.search.ray_cluster import scratch_folder
from dexsearch.search.reaper import task_environment
from dexsearch.search.trial import Assignment, Failure, FailureKind, Record, Report
from dexsearch.search.tune_hooks import StudyScheduler
from dexsearch.search.warm_up import SKIP
from dexsearch.search.watchdog import Watchdog

HEAD = "Failure # {} (occurred at 2026-01-01_00-00-00)\n"
DIED = "The actor died unexpectedly before finishing this task.\n\tclass_name: TrialActor\n"
IN_SETUP = (
    "The actor died because of an error raised in its creation task, ray::TrialActor\n"
    "Traceback\nImportError: no module named dexsearch\n"
)
RAISED = "ray::TrialActor.train()\nTraceback\nOSError: [Errno 28] No space left\n"


def no_trials(assignment: Assignment) -> Iterator[Record]:
    raise AssertionError(f"trial {assignment.number} was run")
    yield {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD.format(1) + DIED, "its process was lost"),
        (HEAD.format(1) + IN_SETUP, "its process raised ImportError: no module named dexsearch"),
        (HEAD.format(1) + RAISED, "its process raised OSError: [Errno 28] No space left"),
        (HEAD.format(1) + RAISED + HEAD.format(2) + DIED, "its process was lost"),
        (HEAD.format(1) + "\n", "its process was lost"),
        ("", "its process was lost"),
    ],
)
def test_the_newest_error_is_told_from_its_text(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "error.txt").write_text(text)
    (tmp_path / "error.pkl").write_bytes(b"not a pickle")
    trial = SimpleNamespace(
        error_file=str(tmp_path / "error.txt"), pickled_error_file=str(tmp_path / "error.pkl")
    )
    assert told_loss(cast("Any", trial)) == ("start" if "raised" in told else "lost", told)


OF_RAY: list[tuple[Exception, tuple[str, str]]] = [
    (ActorUnavailableError("RpcError: RPC error: Socket closed rpc_code: 14", b"7" * 16),
     ("lost", "its process was lost")),
    (ActorDiedError(), ("lost", "its process was lost")),
    (WorkerCrashedError(), ("lost", "its process was lost")),
    (ActorPlacementGroupRemoved(), ("lost", "its process was lost")),
    (ObjectLostError("ff" * 28, None, ""), ("node", "its node was lost")),
    (LocalRayletDiedError(), ("node", "its node was lost")),
    (NodeDiedError("Task failed due to the node (where this task was running) was dead or "
                   "unavailable."), ("node", "its node was lost")),
    (RuntimeEnvSetupError("no such package"), ("start", "its process raised no such package")),
]  # fmt: skip


@pytest.mark.parametrize(("error", "told"), OF_RAY, ids=lambda value: type(value).__name__)
def test_what_ray_raises_of_lost_processes_is_a_loss_and_no_failed_start(
    error: Exception, told: tuple[str, str], tmp_path: Path
) -> None:
    """As Tune writes it down; an actor out of reach is told while its node dies, for example."""
    (tmp_path / "error.txt").write_text(HEAD.format(1) + f"{error}\n")
    trial = SimpleNamespace(error_file=str(tmp_path / "error.txt"))
    assert told_loss(cast("Any", trial)) == told


@pytest.mark.parametrize("error_file", [None, "/nowhere/error.txt"])
def test_a_missing_error_file_is_a_lost_process(error_file: str | None) -> None:
    trial = SimpleNamespace(error_file=error_file)
    assert told_loss(cast("Any", trial)) == ("lost", "its process was lost")


@pytest.mark.parametrize(
    ("kind", "kept"),
    [("exception", False), ("memory", False), ("numeric", True), ("configuration", True)],
)
def test_an_actor_that_raised_is_not_used_again(kind: FailureKind, kept: bool) -> None:
    driver = SimpleNamespace(on_report=lambda report: True)
    controller = SimpleNamespace(_started_actors={"actor"}, _trial_to_actor={"trial": "actor"})
    scheduler = StudyScheduler(Bridge(cast("StudyDriver", driver), no_trials))
    result = {REPORT: Report(0, failure=Failure(kind, "why"), last=True)}
    scheduler.on_trial_complete(controller, cast("Any", "trial"), result)
    assert bool(controller._started_actors) == kept


class TwoNodes:
    """What a bridge asks of `Newcomers`: nodes `a` and `b`, of which one may be blamed."""

    def __init__(self) -> None:
        self.fit = {"a", "b"}

    def is_fit(self, node_id: str) -> bool:
        return node_id in self.fit

    def refuse(self, node_id: str, why: str) -> bool:
        others = bool(self.fit - {node_id})
        if others:
            self.fit.discard(node_id)
        return others

    def suspect(self, node_id: str) -> None:
        self.fit.discard(node_id)


def test_data_that_only_one_node_cannot_open_is_the_fault_of_the_node() -> None:
    reported: list[Report] = []
    driver = SimpleNamespace(
        on_report=reported.append, checkpoints=SimpleNamespace(n_missed=0), told=[]
    )
    bridge = Bridge(cast("Any", driver), no_trials, newcomers=cast("Any", TwoNodes()))
    for node_id in "ab":
        bridge.on_report(Report(0, failure=Failure("data", "DataError: on x: gone")), node_id)
    failures = [report.failure for report in reported]
    assert failures == [Failure("unfit", "on x: gone"), Failure("data", "DataError: on x: gone")]
    assert [report.node for report in reported] == ["a", "b"], "whoever decides knows where it was"


def test_a_node_that_saves_where_nobody_sees_it_keeps_no_process() -> None:
    checkpoints = SimpleNamespace(n_missed=0)

    def on_report(report: Report) -> bool:
        checkpoints.n_missed += report.last and report.number == 1
        return True

    driver = SimpleNamespace(on_report=on_report, checkpoints=checkpoints)
    bridge = Bridge(cast("Any", driver), no_trials, newcomers=cast("Any", TwoNodes()))
    controller = SimpleNamespace(_started_actors={"a", "b"}, _trial_to_actor={"0": "a", "1": "b"})
    for number, node_id in enumerate("ab"):
        result = {REPORT: Report(number, last=True), NODE: node_id}
        StudyScheduler(bridge).on_trial_complete(controller, cast("Any", str(number)), result)
    assert controller._started_actors == {"a"}


ACTOR = "5ad66ef264cedb9db308004801000000"
NAMED = {
    "start": "The actor died because of an error raised in its creation task, ray::TrialActor()"
    f" (pid=7, ip=10.0.0.1, actor_id={ACTOR}, repr=<TrialActor>)\nImportError: libcublas.so.12",
    "lost": f"The actor died unexpectedly before finishing.\n\tactor_id: {ACTOR}\n\tpid: 7",
    "cut off": f"The actor {ACTOR} is unavailable: RpcError",
}


@pytest.mark.parametrize("told", NAMED.values(), ids=NAMED)
def test_ray_is_asked_for_the_node_of_a_process_that_never_reported(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text as Ray 2.60 has it; what it knows of an actor outlives the actor."""
    table = {ACTOR: {"Address": {"NodeID": "a"}}}
    monkeypatch.setattr(
        "dexsearch.search.lost_actors.ray_state.actors", lambda actor_id: table.get(actor_id, {})
    )
    nodes: list[str | None] = []
    driver = SimpleNamespace(lost=lambda lost, reason, setback, node: nodes.append(node))
    bridge = Bridge(cast("Any", driver), no_trials, newcomers=cast("Any", TwoNodes()))
    errors = tmp_path / "error.txt"
    trial: Any = FakeTrial(0, "ERROR")
    trial.error_file = str(errors)
    for text in (told, told.replace(ACTOR, "6" * 32), "of nobody"):
        errors.write_text(HEAD.format(1) + text)
        bridge.on_lost(trial)
    assert nodes == ["a", None, None]


@pytest.mark.parametrize(
    ("slots", "trials", "at_once"),
    [(16, 12, 4), (2, 12, 2), (1, 12, 1), (16, 3, 2), (16, 1, 1)],
)
def test_on_one_machine_at_most_a_third_of_the_trials_run_at_once(
    slots: int, trials: int, at_once: int
) -> None:
    assert n_concurrent(slots, trials) == at_once


def test_with_a_long_temporary_folder_sockets_go_below_tmp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    for wanted, parent in ((str(long), "/tmp"), ("/tmp", "/tmp"), ("/var/tmp", "/var/tmp")):
        monkeypatch.setattr("dexsearch.search.ray_cluster.tempfile.gettempdir", lambda w=wanted: w)
        folder = Path(scratch_folder())
        folder.rmdir()
        assert str(folder.parent) == parent
        stamp = time.strftime("session_%Y-%m-%d_%H-%M-%S_123456_1234567")
        assert len(str(folder / stamp / "sockets" / "plasma_store.1")) <= 107


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def driver_of(**changes: object) -> Any:  # noqa: ANN401
    """What a bridge asks of a driver; nothing happens."""
    driver = SimpleNamespace(
        watchdog=Watchdog(60.0, Clock()), running=set(), stop_requested=False, told=[],
        withdrawn=lambda assignment: None, tick=lambda: None, **changes,
    )  # fmt: skip
    driver.request_stop = lambda: setattr(driver, "stop_requested", True)
    driver.tell = driver.told.append
    return driver


class Tune:
    """Tune's controller as far as its schedulers see it, wrapped as for them."""

    def __init__(self) -> None:
        self._trial_to_actor: dict[Any, Any] = {}
        self._actor_manager = RayActorManager(cast("Any", None))
        self._live_trials: set[Any] = set()
        self.stopped: list[Any] = []
        self.wrapped = TrialRunnerWrapper(
            cast("Any", self), None, {"get_live_trials", "stop_trial"}
        )

    def get_live_trials(self) -> set[Any]:
        return self._live_trials

    def stop_trial(self, trial: object) -> None:
        self.stopped.append(trial)
        self._live_trials.discard(trial)

    def add(self, number: int, *, actor: bool, room: bool, status: str = "PENDING") -> "FakeTrial":
        """Add a trial, for which an actor was asked, and which has room and a process."""
        trial = FakeTrial(number, status)
        self._live_trials.add(trial)
        if actor:
            self._trial_to_actor[trial] = f"actor {number}"
        if room:
            started: Any = self._actor_manager._live_actors_to_ray_actors_resources
            started[f"actor {number}"] = (f"process {number}", "resources")
        return trial


class FakeTrial:
    def __init__(self, number: int, status: str) -> None:
        self.trial_id = f"tune-{number}"
        self.status = status
        self.config = {ASSIGNMENT: Assignment(number, {}, 9, "")}
        self.placement_group_factory = SimpleNamespace(required_resources={"CPU": 1.0})

    def init_local_path(self) -> None:
        """It has no folder."""


@pytest.fixture
def ended_processes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The processes that the reaper was told to end; none has been looked for."""
    ended: list[str] = []
    monkeypatch.setattr("dexsearch.search.bridge.Reaper.end", lambda self, p, _: ended.append(p))
    return ended


def test_a_process_that_never_answers_is_watched_from_its_start(
    ended_processes: list[str],
) -> None:
    driver, tune = driver_of(), Tune()
    driver.running |= {0, 1, 2}
    tune.add(0, actor=True, room=True)
    tune.add(1, actor=True, room=False)
    tune.add(2, actor=False, room=False)
    scheduler = StudyScheduler(Bridge(driver, no_trials, Clock()))
    for _ in range(700):
        scheduler.choose_trial_to_run(tune.wrapped)
    assert ended_processes == ["process 0"], "the others wait for room"


def test_after_a_fault_trials_that_hang_are_still_ended(ended_processes: list[str]) -> None:
    def broken(report: Report) -> bool:
        raise EnvironmentFault("the ledger cannot be written")

    driver, tune = driver_of(on_report=broken), Tune()
    driver.running.add(0)
    tune.add(0, actor=True, room=True, status="RUNNING")
    bridge = Bridge(driver, no_trials, Clock())
    scheduler = StudyScheduler(bridge)
    scheduler.choose_trial_to_run(tune.wrapped)
    assert bridge.on_report(Report(1)), "it is told to stop"
    for _ in range(700):
        scheduler.choose_trial_to_run(tune.wrapped)
    assert ended_processes == ["process 0"]
    with pytest.raises(EnvironmentFault, match="the ledger"):
        bridge.raise_fault()


def test_what_fails_while_a_process_is_ended_costs_no_other_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[str] = []

    def kill(actor: str, *, no_restart: bool) -> None:
        killed.append(actor)
        raise ValueError("no such actor")

    monkeypatch.setattr("dexsearch.search.reaper._ask", lambda actor: None)
    monkeypatch.setattr("dexsearch.search.reaper.ray.kill", kill)
    driver, tune = driver_of(), Tune()
    for number in (0, 1):
        driver.running.add(number)
        tune.add(number, actor=True, room=True)
    bridge = Bridge(driver, no_trials, Clock())
    scheduler = StudyScheduler(bridge)
    for _ in range(700):
        scheduler.choose_trial_to_run(tune.wrapped)
    assert sorted(killed) == ["process 0", "process 1"]
    with pytest.raises(ValueError, match="no such actor"):
        bridge.raise_fault()


@pytest.mark.parametrize("is_joined", [True, False])
def test_only_where_all_processes_import_what_trials_need_the_reaper_asks_for_another_kind(
    is_joined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = SimpleNamespace(runtime_env={"worker_process_setup_hook": "k"} if is_joined else {})
    monkeypatch.setattr("dexsearch.search.reaper.ray.get_runtime_context", lambda: job)
    cold = {"runtime_env": {"env_vars": {SKIP: "1"}}}
    assert task_environment() == (cold if is_joined else {})


class Gone(RayError):
    """What Ray raises of a head that answers no more."""


def test_what_ray_raises_while_room_is_counted_is_kept_and_stops_the_search() -> None:
    class Driver(SimpleNamespace):
        @property
        def must_wait(self) -> bool:
            raise Gone("no head")

    driver = Driver(
        tick=lambda: None, stop_requested=False, next_trial=lambda: pytest.fail("handed out")
    )
    driver.request_stop = lambda: setattr(driver, "stop_requested", True)
    bridge = Bridge(cast("Any", driver), no_trials)
    assert bridge.suggest() == Searcher.FINISHED
    assert driver.stop_requested
    with pytest.raises(Gone, match="no head"):
        bridge.raise_fault()


def test_once_a_search_is_to_stop_trials_that_wait_for_room_end() -> None:
    withdrawn: list[int] = []
    driver = driver_of()
    driver.withdrawn = lambda assignment: withdrawn.append(assignment.number)
    tune = Tune()
    scheduler = StudyScheduler(Bridge(driver, no_trials, Clock()))
    tune.add(0, actor=True, room=True, status="RUNNING")
    tune.add(1, actor=True, room=True)
    waiting = [tune.add(2, actor=True, room=False), tune.add(3, actor=False, room=False)]
    scheduler.choose_trial_to_run(tune.wrapped)
    assert tune.stopped == []
    driver.request_stop()
    scheduler.choose_trial_to_run(tune.wrapped)
    assert set(tune.stopped) == set(waiting)
    assert sorted(withdrawn) == [2, 3]


def test_while_all_trials_wait_for_room_disks_and_clock_are_looked_at() -> None:
    looks: list[int] = []
    driver = driver_of()
    driver.tick = lambda: looks.append(1)
    scheduler = StudyScheduler(Bridge(driver, no_trials, Clock()))
    for _ in range(3):
        scheduler.choose_trial_to_run(Tune().wrapped)
    assert len(looks) == 3


def test_a_waiting_trial_is_named_to_tune_once_each_time_it_is_added() -> None:
    scheduler = StudyScheduler(Bridge(driver_of(), no_trials))
    tune = Tune()
    waiting, running = (cast("Any", FakeTrial(0, status)) for status in ("PENDING", "RUNNING"))
    assert scheduler.choose_trial_to_run(tune.wrapped) is None
    for _ in range(2):
        scheduler.on_trial_add(tune, running)
        scheduler.on_trial_add(tune, waiting)
        assert scheduler.choose_trial_to_run(tune.wrapped) is waiting
        assert scheduler.choose_trial_to_run(tune.wrapped) is None
