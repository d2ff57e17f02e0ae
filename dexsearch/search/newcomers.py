"""Nodes that join in mid-search: none gets a trial before it was asked what the preflight asks.

A node answers from a process that Ray starts there, so it is asked in a thread. Until it has
passed, Ray places no trial on it (placement.py) and its room does not count (capacity.py). One
that does not pass is told with its remedy, once, and asked again every minute: whoever puts it
right need not start anything anew.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from ray.exceptions import RayError

from dexsearch.errors import EnvironmentFault
from dexsearch.search.preflight import PreflightRequest, asked_nodes, judged_nodes
from dexsearch.search.preflight_report import NodeReport, counted, dataset_refusal
from dexsearch.search.preflight_room import Node, living_nodes

LOOK_EVERY_S = 1.0
ASK_AGAIN_S = 60.0
_CLOSED_WITHIN_S = 10.0
_NODE_LABEL = "ray.io/node-id"  # Ray itself labels nodes so
_NOWHERE = "none-yet"  # no node is called so

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a node; nothing where `refusals` is empty."""

    node_id: str
    refusals: tuple[str, ...] = ()
    """Each with its remedy, without the node's name."""
    warnings: tuple[str, ...] = ()


Ask = Callable[[Sequence[Node], Callable[[], bool]], Sequence[Verdict]]
"""Asks nodes until the function returns True; leaves out those that it knows nothing of."""


class Newcomers:
    """Which nodes may take trials; for the thread of the driver alone."""

    def __init__(
        self, fit: Iterable[str], ask: Ask, *, has_room: Callable[[Node], bool], tell: Tell,
        patience_s: float, living: Callable[[], Sequence[Node]] = living_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Ask for nothing yet.

        Args:
            fit: identifiers of the nodes that have passed the preflight.
            ask: asks nodes and judges them; called in a thread.
            has_room: tells whether a trial fits on a node when nothing else runs there.
            tell: is given each line for whoever watches the search.
            patience_s: how long a search goes on that only has nodes which were refused.
            living: returns the nodes of the cluster.
            clock: in seconds.
        """
        self._fit = set(fit)
        self._ask = ask
        self._has_room = has_room
        self._tell = tell
        self._patience_s = patience_s
        self._living_nodes = living
        self._clock = clock
        self._living: dict[str, Node] = {}
        self._refused: dict[str, str] = {}
        self._not_before: dict[str, float] = {}
        self._answers: SimpleQueue[tuple[Sequence[Node], Sequence[Verdict]]] = SimpleQueue()
        self._asking: threading.Thread | None = None
        self._closed = threading.Event()
        self._next_look = -math.inf
        self._without_since: float | None = None
        self._has_grown = False

    def is_fit(self, node_id: str) -> bool:
        """Tell whether a node may take trials."""
        return node_id in self._fit

    @property
    def selector(self) -> Mapping[str, str]:
        """The label selector of Ray for the nodes that may take trials now."""
        return {_NODE_LABEL: f"in({','.join(sorted(self._fit)) or _NOWHERE})"}

    @property
    def note(self) -> str:
        """What to add to a line about free room: how many nodes are not for this search."""
        n = len(self._refused.keys() & self._living.keys())
        return f"; {counted(n, 'node')} of it cannot run trials of this search" if n else ""

    def has_grown(self) -> bool:
        """Tell whether nodes have passed since this was asked last."""
        grown, self._has_grown = self._has_grown, False
        return grown

    def look(self) -> None:
        """Take answers and ask who is new; once a second at most.

        Raises:
            EnvironmentFault: if only nodes that were refused are left, for too long.
        """
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY_S
        self._take_answers(now)
        try:
            nodes = self._living_nodes()
        except (RayError, ConnectionError, TimeoutError):  # head_watch.py tells of that
            return
        self._fit &= {node.node_id for node in nodes}
        self._living = {node.node_id: node for node in nodes if self._has_room(node)}
        self._ask_about(now)
        self._refuse_to_wait_longer(now)

    def refuse(self, node_id: str | None, why: str) -> bool:
        """Keep trials off a node for good, unless no other one could take them; return which.

        Args:
            node_id: of the node where a trial has failed.
            why: for a person; it names the machine.
        """
        living = {node.node_id for node in self._living_nodes() if self._has_room(node)}
        if node_id is None or not (self._fit & living) - {node_id}:
            return False
        if node_id in self._fit:
            self._fit.discard(node_id)
            self._not_before[node_id] = math.inf
            self._refused[node_id] = why
            self._tell(f"no trial goes to that node any more: {why}")
        return True

    def suspect(self, node_id: str | None) -> None:
        """Keep trials off a node until it has passed once more."""
        if node_id in self._fit:
            self._fit.discard(node_id)
            self._not_before.pop(node_id, None)

    def close(self) -> None:
        """Ask nobody any more; what is being asked leaves nothing in the storage."""
        self._closed.set()
        if self._asking is not None:
            self._asking.join(_CLOSED_WITHIN_S)

    def _take_answers(self, now: float) -> None:
        while True:
            try:
                nodes, verdicts = self._answers.get_nowait()
            except Empty:
                return
            known = {verdict.node_id: verdict for verdict in verdicts}
            for node in nodes:
                self._judge(node, known.get(node.node_id), now)

    def _judge(self, node: Node, verdict: Verdict | None, now: float) -> None:
        self._not_before[node.node_id] = now + ASK_AGAIN_S
        if verdict is None:
            return
        name = node.ip if node.hostname in ("", node.ip) else f"{node.ip} ({node.hostname})"
        if verdict.refusals:
            told = "; ".join(verdict.refusals)
            if self._refused.get(node.node_id) != told:
                self._tell(f"{name} gets no trials of this search: {told}")
            self._refused[node.node_id] = told
            return
        self._fit.add(node.node_id)
        self._has_grown = True
        for warning in verdict.warnings:
            self._tell(f"warning: {name}: {warning}")
        if self._refused.pop(node.node_id, None) is not None:
            self._tell(f"{name} has been put right and gets trials")

    def _ask_about(self, now: float) -> None:
        if self._asking is not None and self._asking.is_alive():
            return
        nodes = [
            node
            for node_id, node in self._living.items()
            if node_id not in self._fit and now >= self._not_before.get(node_id, -math.inf)
        ]
        if not nodes or not self._answers.empty():
            return
        self._asking = threading.Thread(target=self._asked, args=(nodes,), daemon=True)
        self._asking.start()

    def _asked(self, nodes: Sequence[Node]) -> None:
        verdicts: Sequence[Verdict] = ()
        try:
            verdicts = self._ask(nodes, self._closed.is_set)
        except Exception:  # storage that is silent just now, or Ray: they are asked again
            verdicts = ()
        finally:
            self._answers.put((nodes, verdicts))

    def _refuse_to_wait_longer(self, now: float) -> None:
        refused = [self._refused[node_id] for node_id in self._living if node_id in self._refused]
        unknown = self._living.keys() - self._fit - self._refused.keys()
        if not refused or unknown or self._fit & self._living.keys():
            self._without_since = None
            return
        if self._without_since is None:
            self._without_since = now
            self._tell(
                "no node is left that can run trials of this search: waiting "
                f"{self._patience_s:g} s for one to join, or to be put right"
            )
        elif now - self._without_since >= self._patience_s:
            names = [f"{node.ip} ({node.hostname})" for node in self._living.values()]
            told = [f"{name}: {why}" for name, why in zip(names, refused, strict=True)]
            raise EnvironmentFault(
                "\n".join(["no node is left that can run trials of this search:", *told]),
                hint="put them right or add others; the same command then continues the search",
            )


def asking(request: PreflightRequest, *, needs_dataset: bool) -> Ask:
    """Return what asks nodes as the preflight does.

    Args:
        request: that of the preflight.
        needs_dataset: whether the images are not sent, so that a node needs their folder.
    """

    def ask(nodes: Sequence[Node], is_stopped: Callable[[], bool]) -> list[Verdict]:
        reports = asked_nodes(request, nodes, is_stopped=is_stopped)
        return [_verdict(request, report, needs_dataset=needs_dataset) for report in reports]

    return ask


def _verdict(request: PreflightRequest, report: NodeReport, *, needs_dataset: bool) -> Verdict:
    found = judged_nodes(request, [report])
    if needs_dataset and request.dataset is not None:
        lacking = dataset_refusal(report, request.dataset)
        found += [] if lacking is None else [lacking]
    told = [(finding.is_refusal, f"{finding.found}; {finding.remedy}") for finding in found]
    return Verdict(
        report.node_id,
        tuple(text for is_refusal, text in told if is_refusal),
        tuple(text for is_refusal, text in told if not is_refusal),
    )
