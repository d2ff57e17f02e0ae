"""What a search says while others hold what its trials need; no Ray starts."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from dexsearch.search.room_watch import TELL_EVERY_S, RoomWatch, no_room_line, occupied_line

CLUSTER = {"GPU": 8.0, "CPU": 64.0}


def trials(*states: str) -> list[Any]:
    return [cast("Any", SimpleNamespace(status=state)) for state in states]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told_over(
    seconds: range, line: str | None, *states: str, runs_at: range = range(0)
) -> list[int]:
    """Return the seconds at which something was told, of a loop that turns every second."""
    clock, told = Clock(), list[int]()
    watch = RoomWatch(lambda text: told.append(int(clock.now)), lambda: line, clock)
    for second in seconds:
        clock.now = second
        watch.on_step_begin(0, trials(*states, *(["RUNNING"] if second in runs_at else [])))
    return told


def test_what_is_waited_for_is_told_soon_and_then_every_half_minute() -> None:
    assert told_over(range(100), "waiting", "PENDING", "TERMINATED") == [5, 35, 65, 95]
    assert TELL_EVERY_S == 30


@pytest.mark.parametrize("states", [("PENDING", "RUNNING"), ("TERMINATED",), ()])
def test_nothing_is_told_while_a_trial_runs_or_none_waits(states: tuple[str, ...]) -> None:
    assert told_over(range(100), "waiting", *states) == []


def test_nothing_is_told_where_nobody_else_holds_anything() -> None:
    assert told_over(range(100), None, "PENDING") == []


@pytest.mark.parametrize("states", [("TERMINATED",), ()])
def test_a_search_whose_nodes_have_all_gone_says_so_although_none_of_its_trials_waits(
    states: tuple[str, ...],
) -> None:
    clock, told = Clock(), list[int]()
    watch = RoomWatch(
        lambda text: told.append(int(clock.now)), lambda: pytest.fail("no trial waits"), clock,
        no_room=lambda: "no node" if clock.now < 70 else None,
    )  # fmt: skip
    for second in range(100):
        clock.now = second
        watch.on_step_begin(0, trials(*states, *(["RUNNING"] if second == 50 else [])))
    assert told == [5, 35, 56]


def test_after_a_trial_has_run_waiting_begins_anew() -> None:
    assert told_over(range(60), "waiting", "PENDING", runs_at=range(3, 20)) == [25, 55]


def test_a_ray_that_does_not_answer_ends_nothing() -> None:
    def silent() -> str | None:
        raise ConnectionError

    clock = Clock()
    watch = RoomWatch(pytest.fail, silent, clock)
    for clock.now in range(100, 120):
        watch.on_step_begin(0, trials("PENDING"))


@pytest.mark.parametrize(
    ("free", "gpus", "line"),
    [
        ({}, 1, "waiting for a GPU: all 8 of the cluster are in use by others"),
        ({"GPU": 0.2, "CPU": 9.0}, 0.25, "waiting for a GPU: all 8 of the cluster are in use by "
         "others"),
        ({"GPU": 0.0}, 2, "waiting for 2 GPUs: all 8 of the cluster are in use by others"),
        ({"GPU": 1.0, "CPU": 3.0}, 2, "waiting for 2 GPUs and 4 CPUs on one node: 1 of 8 GPUs and "
         "3 of 64 CPUs of the cluster are free"),
        ({"CPU": 3.0}, 0, "waiting for 4 CPUs on one node: 3 of 64 CPUs of the cluster are free"),
    ],
)  # fmt: skip
def test_the_line_says_what_is_waited_for(free: dict[str, float], gpus: float, line: str) -> None:
    assert occupied_line(CLUSTER, free, cpus=4, gpus=gpus) == line


@pytest.mark.parametrize(
    ("gpus", "is_asked", "line"),
    [
        (0, False, "waiting for one with 4 CPUs"),
        (1, True, "waiting for one with 1 GPU and 4 CPUs, which the autoscaler of the cluster was "
         "asked for"),
    ],
)  # fmt: skip
def test_without_any_room_it_says_what_node_would_do(
    gpus: float, is_asked: bool, line: str
) -> None:
    told = no_room_line(cpus=4, gpus=gpus, is_asked=is_asked)
    assert told == f"no node of the cluster has room for a trial: {line}"


def test_a_single_gpu_is_told_as_one() -> None:
    line = occupied_line({"GPU": 1.0}, {}, cpus=1, gpus=1)
    assert line == "waiting for a GPU: the only one of the cluster is in use by others"
