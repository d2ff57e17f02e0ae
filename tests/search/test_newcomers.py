"""Which nodes get trials while others join in mid-search; no Ray starts."""

import pickle
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from dexsearch.errors import EnvironmentFault
from dexsearch.search.newcomers import ASK_AGAIN_S, AT_ONCE, Newcomers
from dexsearch.search.node_verdicts import Verdict
from dexsearch.search.placement import PlacedWhereFit
from dexsearch.search.preflight_room import Node

BAD = "has other sources; install the same there"


def node(name: str, *, cpus: float = 4.0) -> Node:
    return Node(f"id-{name}", f"10.0.0.{len(name)}", name, cpus, 0.0)


@dataclass
class Cluster:
    """Nodes that join, what is wrong with each, and a clock; asked as in a search."""

    nodes: list[Node] = field(default_factory=lambda: [node("first")])
    wrong: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    held: dict[str, threading.Event] = field(default_factory=dict)
    """Whoever does not answer before its event."""
    grows: bool = False
    told: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    now: float = 0.0

    def ask(self, node: Node, is_stopped: Callable[[], bool]) -> Verdict:
        self.asked.append(node.hostname)
        if node.hostname in self.held:
            assert self.held[node.hostname].wait(10)
        if self.silent:
            raise ConnectionError("the storage does not answer")
        return Verdict(self.wrong.get(node.hostname, ""))

    def living(self) -> list[Node]:
        if self.silent:
            raise ConnectionError("Ray does not answer")
        return list(self.nodes)

    def watched(self, refused: Mapping[str, str] | None = None) -> Newcomers:
        return Newcomers(
            ["id-first"], self.ask, has_room=lambda node: node.cpus >= 2, tell=self.told.append,
            patience_s=20.0, living=self.living, refused=refused, may_grow=lambda: self.grows,
            clock=lambda: self.now,
        )  # fmt: skip

    def looked(self, newcomers: Newcomers, *, after_s: float = 1.0) -> None:
        """Look, wait until whoever is asked and not held has answered, and look again."""
        self.now += after_s
        newcomers.look()
        deadline = time.monotonic() + 10
        held = {f"id-{name}" for name, event in self.held.items() if not event.is_set()}
        while any(t.is_alive() for n, t in newcomers._asking.items() if n not in held):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        self.now += 1.0
        newcomers.look()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_a_node_that_joins_gets_trials_once_it_has_passed_and_not_before(cluster: Cluster) -> None:
    newcomers = cluster.watched()
    cluster.nodes.append(node("second"))
    assert not newcomers.is_fit("id-second")
    cluster.looked(newcomers)
    assert newcomers.is_fit("id-second")
    assert [newcomers.has_changed(), newcomers.has_changed()] == [True, False]
    assert newcomers.selector == {"ray.io/node-id": "in(id-first,id-second)"}
    assert (cluster.asked, cluster.told) == (["second"], [])


def test_a_node_that_does_not_pass_is_told_once_and_asked_again_until_it_is_put_right(
    cluster: Cluster,
) -> None:
    newcomers = cluster.watched()
    cluster.nodes.append(node("second"))
    cluster.wrong["second"] = BAD
    cluster.looked(newcomers)
    cluster.looked(newcomers, after_s=ASK_AGAIN_S)
    assert cluster.asked == ["second", "second"]
    assert cluster.told == [f"10.0.0.6 (second) gets no trials of this search: {BAD}"]
    assert newcomers.selector == {"ray.io/node-id": "in(id-first)"}
    assert newcomers.note == "; 1 node of it cannot run trials of this search"
    cluster.wrong.clear()
    cluster.looked(newcomers)
    assert not newcomers.is_fit("id-second"), "asked again at once"
    cluster.looked(newcomers, after_s=ASK_AGAIN_S)
    assert newcomers.is_fit("id-second")
    assert cluster.told[1:] == ["10.0.0.6 (second) has been put right and gets trials"]
    assert newcomers.note == ""


def test_nobody_is_asked_who_has_no_room_for_a_trial(cluster: Cluster) -> None:
    newcomers = cluster.watched()
    cluster.nodes.append(node("small", cpus=1.0))
    cluster.looked(newcomers)
    assert cluster.asked == []


def test_while_the_storage_is_silent_nobody_is_judged(cluster: Cluster) -> None:
    newcomers = cluster.watched()
    cluster.nodes.append(node("second"))
    event = cluster.held["second"] = threading.Event()
    cluster.looked(newcomers)
    cluster.silent = True
    event.set()
    cluster.looked(newcomers)
    assert not newcomers.is_fit("id-second")
    cluster.silent = False
    cluster.looked(newcomers, after_s=ASK_AGAIN_S)
    assert newcomers.is_fit("id-second")
    assert cluster.told == []


def test_where_only_refused_nodes_are_left_the_search_waits_and_then_names_them(
    cluster: Cluster,
) -> None:
    newcomers = cluster.watched()
    cluster.nodes[:] = [node("second")]
    cluster.wrong["second"] = BAD
    cluster.looked(newcomers)
    assert newcomers.selector == {"ray.io/node-id": "in(none-yet)"}
    assert cluster.told[1:] == [
        "no node is left that can run trials of this search: waiting 20 s for one to join, or to "
        "be put right"
    ]
    with pytest.raises(EnvironmentFault, match=r"10\.0\.0\.6 \(second\): has other sources"):
        cluster.looked(newcomers, after_s=20.0)


def test_a_search_without_any_node_waits_for_one_to_join(cluster: Cluster) -> None:
    newcomers = cluster.watched()
    cluster.nodes.clear()
    cluster.looked(newcomers, after_s=1000.0)
    cluster.nodes.append(node("second"))
    cluster.looked(newcomers)
    assert newcomers.is_fit("id-second")


def test_a_node_where_a_trial_finds_no_data_is_told_once_and_not_asked_again(
    cluster: Cluster,
) -> None:
    newcomers = cluster.watched()
    cluster.nodes.append(node("second"))
    cluster.looked(newcomers)
    assert [newcomers.refuse("id-second", "no data"), newcomers.refuse("id-second", "no")] == [
        True, True,
    ]  # fmt: skip
    cluster.looked(newcomers, after_s=10 * ASK_AGAIN_S)
    assert not newcomers.is_fit("id-second")
    assert cluster.told == ["no trial goes to that node any more: no data"]
    assert cluster.asked == ["second"]


def test_data_that_no_other_node_could_open_either_is_no_fault_of_a_node(cluster: Cluster) -> None:
    newcomers = cluster.watched()
    assert not newcomers.refuse("id-first", "no data")
    assert not newcomers.refuse(None, "no data")
    assert newcomers.is_fit("id-first")
    assert cluster.told == []


def test_a_suspect_gets_no_trial_until_it_has_passed_once_more(cluster: Cluster) -> None:
    newcomers = cluster.watched()
    newcomers.suspect("id-first")
    assert not newcomers.is_fit("id-first")
    cluster.looked(newcomers)
    assert newcomers.is_fit("id-first")
    cluster.wrong["first"] = BAD
    newcomers.suspect("id-first")
    cluster.looked(newcomers)
    assert not newcomers.is_fit("id-first")
    assert cluster.asked == ["first", "first"]


def test_a_node_that_has_left_is_fit_no_more(cluster: Cluster) -> None:
    newcomers = cluster.watched()
    cluster.nodes[:] = [node("second")]
    cluster.looked(newcomers)
    assert newcomers.selector == {"ray.io/node-id": "in(id-second)"}


def test_one_that_is_silent_delays_no_other(cluster: Cluster) -> None:
    newcomers = cluster.watched()
    event = cluster.held["silent"] = threading.Event()
    cluster.nodes.append(node("silent"))
    cluster.looked(newcomers)
    cluster.nodes.append(node("second"))
    cluster.looked(newcomers)
    assert (newcomers.is_fit("id-second"), newcomers.is_fit("id-silent")) == (True, False)
    event.set()
    cluster.looked(newcomers)
    assert newcomers.is_fit("id-silent")
    assert cluster.asked == ["silent", "second"], "asked again while it was asked"


def test_however_many_join_only_so_many_are_asked_at_once_and_all_in_the_end(
    cluster: Cluster,
) -> None:
    newcomers = cluster.watched()
    event = threading.Event()
    names = [f"node{n}" for n in range(AT_ONCE + 3)]
    cluster.held = dict.fromkeys(names, event)
    cluster.nodes += map(node, names)
    cluster.looked(newcomers)
    assert len(newcomers._asking) == AT_ONCE
    event.set()
    for _ in range(2):
        cluster.looked(newcomers)
    assert sorted(cluster.asked) == sorted(names)
    assert all(newcomers.is_fit(f"id-{name}") for name in names)


def test_a_node_that_may_take_no_more_trials_is_a_change_for_those_that_wait(
    cluster: Cluster,
) -> None:
    newcomers = cluster.watched()
    newcomers.suspect("id-first")
    assert newcomers.has_changed()
    cluster.nodes.append(node("second"))
    cluster.looked(newcomers)
    assert newcomers.has_changed()
    newcomers.refuse("id-second", "no data")
    assert newcomers.has_changed()
    newcomers.refuse("id-second", "no data")
    newcomers.suspect("id-second")
    assert not newcomers.has_changed()


def test_a_suspect_that_is_refused_stays_so_whatever_it_answers(cluster: Cluster) -> None:
    newcomers = cluster.watched()
    cluster.nodes.append(node("second"))
    cluster.looked(newcomers)
    event = cluster.held["second"] = threading.Event()
    newcomers.suspect("id-second")
    cluster.looked(newcomers)
    assert newcomers.refuse("id-second", "no data")
    event.set()
    cluster.looked(newcomers)
    cluster.looked(newcomers, after_s=10 * ASK_AGAIN_S)
    assert not newcomers.is_fit("id-second")
    assert cluster.told == ["no trial goes to that node any more: no data"]
    assert set(newcomers.refused()) == {"id-second"}


def test_while_ray_is_silent_a_node_is_refused_beside_those_seen_last(cluster: Cluster) -> None:
    newcomers = cluster.watched()
    cluster.nodes.append(node("second"))
    cluster.looked(newcomers)
    cluster.silent = True
    assert newcomers.refuse("id-second", "no data")
    assert not newcomers.refuse("id-first", "no data"), "it is the last one"


def test_where_an_autoscaler_may_bring_another_node_the_search_waits_without_an_end(
    cluster: Cluster,
) -> None:
    cluster.grows = True
    newcomers = cluster.watched()
    cluster.nodes[:] = [node("second")]
    cluster.wrong["second"] = BAD
    for _ in range(5):
        cluster.looked(newcomers, after_s=1000.0)
    assert cluster.told[1:] == [
        "no node is left that can run trials of this search: waiting for one to join, or to be "
        "put right"
    ]
    assert set(newcomers.refused()) == {"id-second"}, "another node is asked for"
    cluster.nodes.append(node("third"))
    cluster.looked(newcomers)
    assert newcomers.is_fit("id-third")


def test_what_the_preflight_has_told_of_a_node_is_not_told_again(cluster: Cluster) -> None:
    cluster.nodes.append(node("second"))
    cluster.wrong["second"] = BAD
    newcomers = cluster.watched({"id-second": BAD})
    cluster.looked(newcomers)
    assert cluster.asked == []
    assert newcomers.note == "; 1 node of it cannot run trials of this search"
    cluster.looked(newcomers, after_s=ASK_AGAIN_S)
    assert (cluster.asked, cluster.told) == (["second"], [])
    cluster.wrong.clear()
    cluster.looked(newcomers, after_s=ASK_AGAIN_S)
    assert cluster.told == ["10.0.0.6 (second) has been put right and gets trials"]


def test_once_it_is_left_whoever_is_asked_hears_that_nobody_waits(cluster: Cluster) -> None:
    heard = threading.Event()

    def ask(node: Node, is_stopped: Callable[[], bool]) -> None:
        while not is_stopped():
            time.sleep(0.001)
        heard.set()

    newcomers = cluster.watched()
    newcomers._ask = ask
    cluster.nodes.append(node("second"))
    newcomers.look()
    with pytest.raises(KeyboardInterrupt), newcomers:
        raise KeyboardInterrupt
    assert heard.wait(10)


def test_requests_are_equal_wherever_they_may_be_placed_and_carry_nothing_along() -> None:
    """Tune gives the process of a trial to the next one whose request is equal."""
    first = PlacedWhereFit([{"CPU": 1.0}], lambda: {"ray.io/node-id": "in(a)"})
    second = PlacedWhereFit([{"CPU": 1.0}], lambda: {"ray.io/node-id": "in(b)"})
    larger = PlacedWhereFit([{"CPU": 2.0}], lambda: {"ray.io/node-id": "in(a)"})
    assert first == second
    assert hash(first) == hash(second)
    assert first != larger
    assert pickle.loads(pickle.dumps(first)) == first  # its function could not be pickled
