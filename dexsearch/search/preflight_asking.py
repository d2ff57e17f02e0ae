"""Asks every node of a cluster the same questions at once, for answers within seconds."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dexsearch.search import preflight_node, warm_up
from dexsearch.search.preflight_node import Answer, Question
from dexsearch.search.preflight_report import NodeReport
from dexsearch.search.preflight_room import Node, living_nodes

Value = TypeVar("Value")

_BY_VALUE = threading.Lock()
"""What is pickled by value is noted once for a process, and nodes are asked from many threads."""

_SLICE_S = 0.5
_BACK_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Questions:
    """What every node is asked."""

    dataset: Path | None
    digest: str | None
    place: str | None
    """Of the probe in the storage; None where nobody asks for that."""
    secret: str
    longest_s: float
    """How long a node may take."""
    is_stopped: Callable[[], bool] = lambda: False
    """Whether the user has asked to stop; then nobody waits for the other answers."""

    def to(self, node: Node) -> Question:
        """Return the question for one node."""
        return {
            "storage": self.place,
            "secret": self.secret,
            "name": node.node_id,
            "dataset": None if self.dataset is None else str(self.dataset),
            "digest": self.digest,
            "gpus": node.gpus > 0,
        }


def ask_living_nodes(
    nodes: Sequence[Node],
    questions: Questions,
    tell: Callable[[str], None],
    *,
    ask: "Callable[[Sequence[Node], Questions], list[NodeReport]] | None" = None,
    living: Callable[[], Sequence[Node]] = living_nodes,
) -> list[NodeReport]:
    """Ask every node; leave out those that are gone by then, and ask silent ones once more.

    Args:
        nodes: to ask.
        questions: for each of them.
        tell: hears of each node that is left out, or asked again.
        ask: asks all of some nodes; `ask_nodes`.
        living: returns the nodes that there still are.
    """
    ask = ask or ask_nodes
    reports = ask(nodes, questions)
    if questions.is_stopped():  # Ray may have been left
        return reports
    reports = _still_there(reports, living(), tell)
    silent = {report.node_id for report in reports if report.answer is None}
    if not silent:
        return reports
    for report in reports:
        if report.node_id in silent:
            tell(f"{report.name} {report.silence}: asking once more")
    again = _still_there(
        ask([node for node in nodes if node.node_id in silent], questions), living(), tell
    )
    return [report for report in reports if report.node_id not in silent] + again


def _still_there(
    reports: Sequence[NodeReport], living: Sequence[Node], tell: Callable[[str], None]
) -> list[NodeReport]:
    there = {node.node_id for node in living}
    for report in reports:
        if report.answer is None and report.node_id not in there:
            tell(f"warning: {report.name} has left the cluster while it was asked")
    return [report for report in reports if report.answer is not None or report.node_id in there]


def ask_nodes(nodes: Sequence[Node], questions: Questions) -> list[NodeReport]:
    """Ask every node; one without an answer in time has a report that says so."""
    with _BY_VALUE:
        asked, sent_s = _asked(nodes, questions)
    ready = _answered(list(asked), questions)
    window_s = (sent_s, time.time())
    return [
        _report(node, _answer(task, task in ready, questions.longest_s), questions, window_s)
        for task, node in asked.items()
    ]


def _asked(
    nodes: Sequence[Node], questions: Questions
) -> "tuple[dict[ray.ObjectRef[Answer], Node], float]":
    """Send the questions; return also when that began, as a time of day in seconds."""
    cloudpickle.register_pickle_by_value(preflight_node)  # type: ignore[no-untyped-call]
    try:
        cold = {"env_vars": {warm_up.SKIP: "1"}}  # it looks and ends: seconds sooner
        look = ray.remote(num_cpus=0, max_retries=0, runtime_env=cold)(preflight_node.look)
        sent_s = time.time()
        asked = {
            look.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
            ).remote(questions.to(node)): node
            for node in nodes
        }
    finally:
        cloudpickle.unregister_pickle_by_value(preflight_node)  # type: ignore[no-untyped-call]
    return asked, sent_s


def _answered(
    tasks: "list[ray.ObjectRef[Answer]]", questions: Questions
) -> "set[ray.ObjectRef[Answer]]":
    """Wait for all answers, in slices, so that Ctrl-C is not kept waiting."""
    deadline = time.monotonic() + questions.longest_s
    waiting = tasks
    while waiting and time.monotonic() < deadline and not questions.is_stopped():
        _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=_SLICE_S)
    return set(tasks) - set(waiting)


def _answer(
    task: "ray.ObjectRef[Answer]", is_ready: bool, longest_s: float
) -> tuple[Answer | None, str | None]:
    """Return a node's answer, or why there is none."""
    if not is_ready:
        ray.cancel(task, force=True)
        return None, f"does not answer within {longest_s:g} s"
    try:
        return ray.get(task), None
    except RayTaskError as error:
        return None, f"cannot be looked at: {type(error.cause).__name__}: {error.cause}"
    except RayError as error:
        told = str(error).splitlines()
        return None, f"cannot be asked: {type(error).__name__}: {told[0] if told else ''}"


def _report(
    node: Node,
    answered: tuple[Answer | None, str | None],
    questions: Questions,
    window_s: tuple[float, float],
) -> NodeReport:
    answer, silence = answered
    wrote_back = True
    place = questions.place
    if answer is not None and place is not None and answer["storage_fault"] is None:
        wrote_back = _came_back(place, node.node_id, questions.secret)
    offset_s = 0.0 if answer is None else clock_offset_s(answer["clock_s"], window_s)
    return NodeReport(
        node.node_id, node.ip, node.hostname, node.cpus, node.gpus, answer, silence, wrote_back,
        offset_s,
    )  # fmt: skip


def _came_back(place: str, name: str, secret: str) -> bool:
    def read() -> str | None:
        return preflight_node.read_probe(place, name)

    return preflight_node.within(_BACK_WITHIN_S, read) == secret


def clock_offset_s(clock_s: float, window_s: tuple[float, float]) -> float:
    """Return how far a clock that was read within a window is outside it; 0 where it is not."""
    begin_s, end_s = window_s
    return clock_s - end_s if clock_s > end_s else min(0.0, clock_s - begin_s)


def in_time(longest_s: float, do: Callable[[str], Value], argument: str) -> Value:
    """Return what a function returns, unless it takes too long, as a dead file server does.

    Raises:
        TimeoutError: after that time; the thread is left behind.
        Exception: what the function raises.
    """
    values: list[Value] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            values.append(do(argument))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(longest_s)
    if errors:
        raise errors[0]
    if not values:
        raise TimeoutError(f"no answer in {longest_s:g} s")
    return values[0]
