"""How many trials a cluster takes: what is there now, node by node."""

import pytest

from dexsearch.search.capacity import Capacity, slots_of_node
from dexsearch.search.sharing import NO_GPU, GpuSharing, RunningTrials

NODE = {"CPU": 8.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("node", "cpus", "gpus", "slots"),
    [
        ({"CPU": 3.0}, 2, 0.0, 1),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 1.0, 2),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 0.4, 4),
        ({"CPU": 3.0, "GPU": 2.0}, 1, 0.25, 3),
        ({"CPU": 64.0, "GPU": 7.0}, 1, 2.0, 3),
        ({"CPU": 8.0}, 1, 1.0, 0),
        ({"memory": 1e9}, 1, 0.0, 0),
        ({"GPU": 4.0}, 0, 1.0, 4),
    ],
)
def test_a_trial_runs_on_one_node_and_a_part_of_a_gpu_is_of_one_gpu(
    node: dict[str, float], cpus: float, gpus: float, slots: int
) -> None:
    assert slots_of_node(node, cpus=cpus, gpus=gpus) == slots


def test_what_is_left_over_on_two_nodes_takes_no_trial() -> None:
    room = Capacity(lambda: [{"CPU": 3.0}, {"CPU": 3.0}], cpus=2, gpus=0.0)
    assert room(NO_GPU) == 2


def test_nodes_that_join_and_leave_are_seen_within_a_second_and_told_once() -> None:
    nodes, now, told = [NODE], [0.0], []
    room = Capacity(lambda: list(nodes), cpus=1, gpus=1.0, tell=told.append, clock=lambda: now[0])
    assert room(NO_GPU) == 2
    nodes.append(NODE)
    assert room(NO_GPU) == 2, "asked twice within a second"
    now[0] = 1.0
    assert [room(NO_GPU), room(NO_GPU)] == [4, 4]
    nodes.clear()
    now[0] = 2.0
    assert room(NO_GPU) == 0
    assert told == [
        "the cluster has room for 4 trials at once now, 2 before",
        "the cluster has room for 0 trials at once now, 4 before",
    ]


def test_a_gpu_takes_fewer_trials_once_their_memory_did_not_suffice() -> None:
    room = Capacity(lambda: [NODE], cpus=1, gpus=0.25)
    sharing = GpuSharing(n_gpus=2, per_gpu=4)
    assert [room(s) for s in (sharing, sharing.halved(), sharing.halved().halved())] == [8, 4, 2]


def test_a_search_is_full_when_the_cluster_is_and_goes_on_when_it_grows() -> None:
    nodes = [{"CPU": 2.0}]
    running = RunningTrials()
    now = [0.0]
    running.room = Capacity(lambda: list(nodes), cpus=1, gpus=0.0, clock=lambda: now[0])
    running.begin(0)
    assert not running.is_full
    running.begin(1)
    assert running.is_full
    nodes.append({"CPU": 1.0})
    now[0] = 1.0
    assert not running.is_full
