"""A search asks an autoscaler for nodes as long as more trials are left than there is room for."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nodes import Nodes, free_port, nodes_here, own_ip
from searching import ray_command, ray_environment

from dexsearch.ledger.study import read_study
from dexsearch.search import node_demand
from dexsearch.search.capacity import Capacity
from dexsearch.search.node_demand import AGAIN_AFTER_S, KEEP_S, NodeDemand, demand_of
from dexsearch.search.sharing import RunningTrials

HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
"""As Ray's provider of pretended nodes calls the head."""


class Loop:
    """Tune's loop, which turns every second, on a cluster that an autoscaler may enlarge."""

    def __init__(self, *, trials: int, nodes: int = 1) -> None:
        self.now = 100.0
        self.nodes = [{"CPU": 1.0}] * nodes
        self.hears, self.others_hold = True, False
        self.asked: list[float] = []
        self.wishes: list[Wish] = []
        self.waiting: list[Any] = []
        self.driver: Any = SimpleNamespace(
            n_left=trials, running=RunningTrials(), stop_requested=False
        )
        self.driver.running.room = Capacity(
            lambda: list(self.nodes), cpus=1, gpus=0.0, clock=lambda: self.now
        )
        is_short = demand_of(self.driver, cpus=1, gpus=0.0)._is_short
        self.demand = NodeDemand(
            is_short, self.ask, waits_for_others=lambda: self.others_hold,
            is_heard=lambda: self.hears, clock=lambda: self.now,
        )  # fmt: skip

    def ask(self) -> "Wish":
        self.asked.append(self.now - 100)
        self.wishes.append(Wish())
        return self.wishes[-1]

    @property
    def n_open(self) -> int:
        return sum(not wish.is_withdrawn for wish in self.wishes)

    def turn(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            for number in range(len(self.driver.running), self.driver.n_left):
                if not self.driver.running.is_full:
                    self.driver.running.begin(number)
            self.demand.on_step_begin(0, self.waiting)
            self.now += 1


class Wish:
    def __init__(self) -> None:
        self.has_place = self.is_withdrawn = False

    def is_met(self) -> bool:
        return self.has_place

    def withdraw(self) -> None:
        self.is_withdrawn = True


def test_one_node_is_asked_for_at_a_time_and_the_next_one_once_that_is_full() -> None:
    loop = Loop(trials=3)
    loop.turn(100)
    assert (loop.n_open, loop.asked) == (1, [0.0]), "asked once, and it stands"
    loop.nodes.append({"CPU": 1.0})
    loop.wishes[0].has_place = True
    loop.turn(AGAIN_AFTER_S + 2)
    assert len(loop.driver.running) == 2
    assert (loop.n_open, len(loop.asked)) == (1, 2)
    loop.nodes.append({"CPU": 1.0})
    loop.wishes[1].has_place = True
    loop.turn(100)
    assert len(loop.driver.running) == 3
    assert (loop.n_open, len(loop.asked)) == (0, 2), "every trial runs"


def test_with_no_node_left_one_is_asked_for_until_it_is_there() -> None:
    loop = Loop(trials=2, nodes=0)
    loop.turn(7200)
    assert (loop.n_open, len(loop.asked)) == (1, 1)


def test_where_nobody_adds_nodes_none_is_asked_for() -> None:
    loop = Loop(trials=3)
    loop.hears = False
    loop.turn(100)
    assert loop.asked == []
    loop.hears = True  # it has begun to report
    loop.turn(100)
    assert loop.n_open == 1


@pytest.mark.parametrize("end", ["stopped", "nothing left", "over"])
def test_nothing_is_asked_for_any_more_once_nothing_is_wanted(end: str) -> None:
    loop = Loop(trials=3)
    loop.turn(5)
    assert loop.n_open == 1
    if end == "over":
        loop.demand.on_experiment_end([])
    else:
        loop.driver.stop_requested = end == "stopped"
        loop.driver.n_left = 3 if end == "stopped" else 1
        loop.turn(KEEP_S + 1)
    assert loop.n_open == 0


def test_a_trial_that_was_handed_out_and_finds_no_place_has_a_node_asked_for() -> None:
    loop = Loop(trials=1)
    loop.turn(20)
    loop.waiting = [cast("Any", SimpleNamespace(status="PENDING"))]
    loop.turn(20)
    assert loop.asked == [], "its process starts"
    loop.others_hold = True
    loop.turn(20)
    assert loop.n_open == 1
    loop.waiting = []
    loop.turn(KEEP_S + 1)
    assert loop.n_open == 0


def test_a_place_is_asked_for_elsewhere_than_on_the_nodes_that_were_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[list[str], float]] = []
    monkeypatch.setattr(
        node_demand, "Place", lambda **how: asked.append((sorted(how["without"]), how["cpus"]))
    )
    refused: set[str] = set()
    demand = demand_of(Loop(trials=3).driver, cpus=2, gpus=0.0, refused=lambda: refused)
    demand._ask()
    refused |= {"b", "a"}
    demand._ask()
    assert asked == [([], 2), (["a", "b"], 2)]


def test_a_ray_that_does_not_answer_ends_no_search() -> None:
    loop = Loop(trials=3)

    def silent() -> list[dict[str, float]]:
        raise ConnectionError

    loop.driver.running.room = Capacity(silent, cpus=1, gpus=0.0)
    loop.demand.on_step_begin(0, [])
    assert loop.asked == []


def start_autoscaling(nodes: Nodes, *, n_more: int = 1) -> None:
    """Start a head that takes one trial; Ray's own autoscaler may add so many such nodes."""
    nodes.port, nodes.dashboard_port = free_port(), free_port()
    address = f"{own_ip()}:{nodes.port}"
    types = {
        "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
        "small": {
            "resources": {"CPU": 1, "object_store_memory": 80_000_000},
            "node_config": {}, "min_workers": 0, "max_workers": n_more,
        },
    }  # fmt: skip
    config = {
        "cluster_name": "here", "max_workers": n_more, "idle_timeout_minutes": 5,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "fake_multinode", "gcs_address": address, "use_node_id_as_ip": True,
        },
        "available_node_types": types, "head_node_type": "ray.head.default",
        "auth": {}, "docker": {}, "file_mounts": {}, "cluster_synced_files": [],
        "file_mounts_sync_continuously": False, "rsync_exclude": [], "rsync_filter": [],
        "initialization_commands": [], "setup_commands": [], "head_setup_commands": [],
        "worker_setup_commands": [], "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }  # fmt: skip
    path = nodes.scratch / "autoscaling.json"
    path.write_text(json.dumps(config))
    how = [
        "--head", f"--port={nodes.port}", f"--dashboard-port={nodes.dashboard_port}",
        "--include-dashboard=false", f"--autoscaling-config={path}",
    ]  # fmt: skip
    fake = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    fake |= {"RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID, "DEXSEARCH_TEST_EPOCH_S": "0.5"}
    nodes.wait_for(nodes.node(how, cpus=1, gpus=0, **fake))


@pytest.mark.slow
@pytest.mark.cluster
def test_rays_own_autoscaler_adds_a_node_and_two_trials_train_at_once(
    tmp_path: Path,
) -> None:
    pytest.importorskip("ray.autoscaler._private.fake_multi_node.node_provider")
    folder = tmp_path / "s"
    with nodes_here(RAY_AUTH_MODE="disabled") as nodes:
        start_autoscaling(nodes)
        environment = ray_environment(tmp_path / "home") | {"RAY_AUTH_MODE": "disabled"}
        command = ray_command(
            folder, "rising", address=nodes.address, trials=2, epochs=400, pruner={"kind": "none"}
        )
        log = tmp_path / "log"
        with log.open("w") as out:
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:
            wait_until(lambda: n_training(folder) == 2, process, log)
        finally:
            process.kill()
            process.wait()


ANOTHER_NODE = """
import sys, time
import ray
from ray._private.state import available_resources_per_node
from dexsearch.search.node_demand import Place

def node_of(place):
    nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    deadline = time.monotonic() + 100
    while not place.is_met():
        assert time.monotonic() < deadline, "no node was added"
        time.sleep(0.2)
    place.withdraw()
    (new,) = {node["NodeID"] for node in ray.nodes() if node["Alive"]} - nodes
    return new

ray.init(sys.argv[1], log_to_driver=False)
held = ray.util.placement_group([{"CPU": 1.0}])  # the head is full
ray.get(held.ready())
refused = node_of(Place(cpus=1, gpus=0))
while not available_resources_per_node()[refused].get("CPU"):
    time.sleep(0.2)
print(node_of(Place(cpus=1, gpus=0, without=[refused])) != refused)
"""


@pytest.mark.slow
@pytest.mark.cluster
def test_rays_own_autoscaler_adds_a_node_beside_an_idle_one_that_was_refused(
    tmp_path: Path,
) -> None:
    pytest.importorskip("ray.autoscaler._private.fake_multi_node.node_provider")
    with nodes_here(RAY_AUTH_MODE="disabled") as nodes:
        start_autoscaling(nodes, n_more=3)
        environment = ray_environment(tmp_path / "home") | {"RAY_AUTH_MODE": "disabled"}
        done = subprocess.run(
            [sys.executable, "-c", ANOTHER_NODE, nodes.address], env=environment,
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.stdout.split() == ["True"], done.stderr[-3000:]


def n_training(folder: Path) -> int:
    """Return how many unfinished trials have epochs."""
    if not (folder / "ledger.jsonl").exists():
        return 0
    return sum(bool(trial.epochs) for trial in read_study(folder).in_state("running"))


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 150
    while not condition():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
