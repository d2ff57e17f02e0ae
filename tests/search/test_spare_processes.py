"""A process in reserve: when a node is asked for one, and who gets it."""

import json
import subprocess
import sys

import pytest
from nodes import SUPPORT, TOKEN, nodes_here
from ray.exceptions import RaySystemError

from dexsearch.search.spare_processes import KEEP_S, SETTLE_S, Place, SpareProcesses

FIRST, SECOND = Place("a", "10.0.0.1:1"), Place("b", "10.0.0.2:1")


class Loop:
    """Tune's loop, which turns every second; a node may join and a process be lost in between."""

    def __init__(self) -> None:
        self.now = 100.0
        self.places = [FIRST]
        self.asked: list[tuple[float, str]] = []
        self.has_begun = True
        self.error: Exception | None = None
        self.spares = SpareProcesses(self.there, self.ask, lambda: self.now)

    def there(self) -> list[Place]:
        if self.error is not None:
            raise self.error
        return list(self.places)

    def ask(self, place: Place) -> bool:
        if self.has_begun:
            self.asked.append((self.now - 100, place.node_id))
        return self.has_begun

    def turn(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.spares.on_step_begin(0, [])
            self.now += 1


def test_a_node_is_asked_once_its_trials_have_begun_and_again_before_the_process_is_given_up() -> (
    None
):
    loop = Loop()
    loop.turn(2 * KEEP_S)
    assert loop.asked == [(SETTLE_S, "a"), (SETTLE_S + KEEP_S, "a")]


def test_as_long_as_no_trial_has_begun_nothing_is_asked_for() -> None:
    loop = Loop()
    loop.has_begun = False
    loop.turn(90)
    loop.has_begun = True
    loop.turn(90)
    assert loop.asked == [(90, "a")]


def test_a_node_that_joins_is_asked_and_one_that_left_is_not() -> None:
    loop = Loop()
    loop.turn(50)
    loop.places = [FIRST, SECOND]
    loop.turn(50)
    loop.places = [SECOND]
    loop.turn(KEEP_S)
    assert loop.asked == [(SETTLE_S, "a"), (50 + SETTLE_S, "b"), (50 + SETTLE_S + KEEP_S, "b")]


def test_after_a_loss_every_node_is_asked_again_and_several_at_once_count_as_one() -> None:
    loop = Loop()
    loop.places = [FIRST, SECOND]
    loop.turn(50)
    loop.asked.clear()
    for _ in range(3):
        loop.spares.on_trial_error(0, [], None)
        loop.turn(1)
    loop.turn(KEEP_S / 2)
    assert loop.asked == [(50 + SETTLE_S, "a"), (50 + SETTLE_S, "b")]


@pytest.mark.parametrize("error", [RaySystemError("no head"), ConnectionError(), ValueError()])
def test_a_ray_that_does_not_answer_ends_no_search_and_is_asked_again(error: Exception) -> None:
    loop = Loop()
    loop.turn(5)
    loop.error = error
    loop.turn(SETTLE_S)
    assert loop.asked == []
    loop.error = None
    loop.turn(2)
    assert [node for _, node in loop.asked] == ["a"]


@pytest.mark.slow
@pytest.mark.cluster
def test_the_successor_of_a_lost_actor_gets_the_process_that_waited_with_all_imported() -> None:
    """On a node without a free processor, where Ray keeps no idle process of its own accord."""
    pytest.importorskip("grpc")
    with nodes_here(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN) as nodes:
        nodes.start_head(cpus=1)
        done = subprocess.run(
            [sys.executable, str(SUPPORT / "drive_spare.py"), nodes.address],
            env=nodes.environment(), capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["next"] == told["spare"] != told["lost"]
    assert told["had_torch"]
