"""Nodes that join in mid-search: none gets a trial before it was asked what the preflight asks.

A node answers from a process that Ray starts there, so each is asked in a thread of its own: one
that is silent for minutes delays no other. Until it has passed, Ray places no trial on it
(placement.py) and its room does not count (capacity.py). One that does not pass is told with its
remedy, once, and asked again every minute: whoever puts it right need not start anything anew.
"""

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Self

from ray.exceptions import RayError

from dexsearch.errors import EnvironmentFault
from dexsearch.search.node_demand import NODE_LABEL
from dexsearch.search.node_verdicts import Ask, Verdict
from dexsearch.search.preflight_report import counted
from dexsearch.search.preflight_room import Node, living_nodes

LOOK_EVERY_S = 1.0
ASK_AGAIN_S = 60.0
AT_ONCE = 16
"""Nodes that are asked at the same time; each is a thread and a probe in the storage."""

_CLOSED_WITHIN_S, _HURRIED_WITHIN_S = 10.0, 1.0
_SILENT = (RayError, ConnectionError, TimeoutError)  # head_watch.py tells of that
_NOWHERE = "none-yet"  # no node is called so

Tell = Callable[[str], None]


class Newcomers:
    """Which nodes may take trials; for the thread of the driver alone."""

    def __init__(
        self, fit: Iterable[str], ask: Ask, *, has_room: Callable[[Node], bool], tell: Tell,
        patience_s: float, living: Callable[[], Sequence[Node]] = living_nodes,
        refused: Mapping[str, str] | None = None, may_grow: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Ask for nothing yet.

        Args:
            fit: identifiers of the nodes that have passed the preflight.
            ask: asks a node and judges it; called in threads.
            has_room: tells whether a trial fits on a node when nothing else runs there.
            tell: is given each line for whoever watches the search.
            patience_s: how long a search goes on that only has nodes which were refused.
            living: returns the nodes of the cluster.
            refused: why nodes have not passed the preflight, by identifier; they have been told.
            may_grow: tells whether the cluster has an autoscaler, which may bring other nodes.
            clock: in seconds.
        """
        self._fit = set(fit)
        self._ask = ask
        self._has_room = has_room
        self._tell = tell
        self._patience_s = patience_s
        self._living_nodes = living
        self._clock = clock
        self._may_grow = may_grow
        self._living: dict[str, Node] = {}
        self._refused = dict(refused or {})
        self._not_before = dict.fromkeys(self._refused, clock() + ASK_AGAIN_S)
        self._answers: SimpleQueue[tuple[Node, Verdict | None]] = SimpleQueue()
        self._asking: dict[str, threading.Thread] = {}
        self._closed = threading.Event()
        self._next_look = -math.inf
        self._without_since: float | None = None
        self._has_changed = False

    def __enter__(self) -> Self:
        """Return this; `__exit__` closes it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ask nobody any more; hardly wait where an exception passes, as a second Ctrl-C does."""
        self.close(_CLOSED_WITHIN_S if kind is None else _HURRIED_WITHIN_S)

    def is_fit(self, node_id: str) -> bool:
        """Tell whether a node may take trials."""
        return node_id in self._fit

    @property
    def selector(self) -> Mapping[str, str]:
        """The label selector of Ray for the nodes that may take trials now."""
        return {NODE_LABEL: f"in({','.join(sorted(self._fit)) or _NOWHERE})"}

    @property
    def note(self) -> str:
        """What to add to a line about free room: how many nodes are not for this search."""
        n = len(self.refused())
        return f"; {counted(n, 'node')} of it cannot run trials of this search" if n else ""

    def refused(self) -> Collection[str]:
        """Return the identifiers of the nodes that have room and may take no trials."""
        return self._refused.keys() & self._living.keys()

    def has_changed(self) -> bool:
        """Tell whether other nodes may take trials than when this was asked last."""
        changed, self._has_changed = self._has_changed, False
        return changed

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
        except _SILENT:
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
        if node_id is None or not (self._fit & self._living_now()) - {node_id}:
            return False
        if self._not_before.get(node_id) != math.inf:  # else it was noted
            self._take_off(node_id)
            self._not_before[node_id] = math.inf
            self._refused[node_id] = why
            self._tell(f"no trial goes to that node any more: {why}")
        return True

    def suspect(self, node_id: str | None) -> None:
        """Keep trials off a node until it has passed once more."""
        if node_id is not None and node_id in self._fit:
            self._take_off(node_id)
            self._not_before.pop(node_id, None)

    def _take_off(self, node_id: str) -> None:
        self._has_changed = self._has_changed or node_id in self._fit
        self._fit.discard(node_id)

    def _living_now(self) -> set[str]:
        """Return the nodes with room; those of the last look where Ray does not answer."""
        try:
            return {node.node_id for node in self._living_nodes() if self._has_room(node)}
        except _SILENT:
            return set(self._living)

    def close(self, within_s: float = _CLOSED_WITHIN_S) -> None:
        """Ask nobody any more; what is being asked leaves nothing in the storage.

        Args:
            within_s: how long to wait for that at most.
        """
        self._closed.set()
        deadline = time.monotonic() + within_s
        for thread in self._asking.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _take_answers(self, now: float) -> None:
        while True:
            try:
                node, verdict = self._answers.get_nowait()
            except Empty:
                return
            del self._asking[node.node_id]
            if self._not_before.get(node.node_id) != math.inf:  # refused for good meanwhile
                self._judge(node, verdict, now)

    def _judge(self, node: Node, verdict: Verdict | None, now: float) -> None:
        self._not_before[node.node_id] = now + ASK_AGAIN_S
        if verdict is None:
            return
        name = node.ip if node.hostname in ("", node.ip) else f"{node.ip} ({node.hostname})"
        if verdict.why:
            if self._refused.get(node.node_id) != verdict.why:
                self._tell(f"{name} gets no trials of this search: {verdict.why}")
            self._refused[node.node_id] = verdict.why
            return
        self._fit.add(node.node_id)
        self._has_changed = True
        for warning in verdict.warnings:
            self._tell(f"warning: {name}: {warning}")
        if self._refused.pop(node.node_id, None) is not None:
            self._tell(f"{name} has been put right and gets trials")

    def _ask_about(self, now: float) -> None:
        for node_id, node in self._living.items():
            if len(self._asking) >= AT_ONCE:
                return
            is_due = now >= self._not_before.get(node_id, -math.inf)
            if is_due and node_id not in self._fit and node_id not in self._asking:
                thread = threading.Thread(target=self._asked, args=(node,), daemon=True)
                self._asking[node_id] = thread
                thread.start()

    def _asked(self, node: Node) -> None:
        verdict = None
        try:
            verdict = self._ask(node, self._closed.is_set)
        except Exception:  # storage that is silent just now, or Ray: it is asked again
            verdict = None
        finally:
            self._answers.put((node, verdict))

    def _refuse_to_wait_longer(self, now: float) -> None:
        refused = [self._refused[node_id] for node_id in self._living if node_id in self._refused]
        unknown = self._living.keys() - self._fit - self._refused.keys()
        if not refused or unknown or self._fit & self._living.keys():
            self._without_since = None
            return
        if self._without_since is None:
            self._without_since = now
            how_long = "" if self._may_wait() else f" {self._patience_s:g} s"
            self._tell(
                f"no node is left that can run trials of this search: waiting{how_long} for one "
                "to join, or to be put right"
            )
        elif now - self._without_since >= self._patience_s and not self._may_wait():
            names = [f"{node.ip} ({node.hostname})" for node in self._living.values()]
            told = [f"{name}: {why}" for name, why in zip(names, refused, strict=True)]
            raise EnvironmentFault(
                "\n".join(["no node is left that can run trials of this search:", *told]),
                hint="put them right or add others; the same command then continues the search",
            )

    def _may_wait(self) -> bool:
        """Tell whether somebody may yet add a node; also where nobody tells."""
        try:
            return self._may_grow()
        except _SILENT:
            return True
