"""Asks an autoscaler for a node, for as long as a search has more trials than there is room for.

Trials are handed out only where there is room (capacity.py), so none of them ever waits in Ray,
and an autoscaler, which adds nodes for what waits, would add none. So a place of a trial's size is
asked for on any node, also on one that does not exist yet. It takes no process, and is given back
as soon as Ray has found one: by then a node has joined, which newcomers.py looks at. One is asked
for at a time; the next one once the new node is full as well.

A node that was refused has room, and no trial takes it, so the place is asked for elsewhere. An
autoscaler of version 2 understands that; one of version 1 counts the room of such a node as a
place for what waits, so it is asked for that many places more.
"""

import contextlib
import json
import math
import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from ray import tune
from ray._private.state import available_resources_per_node
from ray.exceptions import RayError
from ray.experimental import internal_kv
from ray.tune.experiment import Trial
from ray.util import placement_group_table
from ray.util.placement_group import placement_group, remove_placement_group

from dexsearch.search.capacity import slots_of_node
from dexsearch.search.driver import StudyDriver
from dexsearch.search.room_watch import is_any_without_a_place

AGAIN_AFTER_S = 10.0
"""After a place was found: nodes that have joined are looked at meanwhile."""

NODE_LABEL = "ray.io/node-id"
"""Ray itself labels nodes so."""

KEEP_S = 3.0
"""A place that is free for less, between two trials, withdraws nothing."""

_LOOK_EVERY_S = 0.5
_HEARD_EVERY_S = 30.0
_SILENT = (RayError, ConnectionError, TimeoutError)  # head_watch.py tells of that


Rooms = Mapping[str, Mapping[str, float]]


class Wish(Protocol):
    """A place that Ray was asked for."""

    def is_met(self) -> bool:
        """Tell whether there is one."""

    def withdraw(self) -> None:
        """Ask no more, and give back what was found."""


class Place:
    """A place of a trial's size on whatever node; it ends with the job that asked for it."""

    def __init__(self, *, cpus: float, gpus: float, without: Collection[str] = ()) -> None:
        """Ask for it.

        Args:
            cpus: of a trial.
            gpus: of a trial.
            without: identifiers of nodes that will not do.
        """
        bundle = {name: float(n) for name, n in (("CPU", cpus), ("GPU", gpus)) if n}
        selector = [{NODE_LABEL: f"!in({','.join(sorted(without))})"}] if without else None
        n_counted = 0
        if without and not _is_version_2():
            free: Rooms = available_resources_per_node()  # type: ignore[no-untyped-call]
            rooms = [free.get(node_id, {}) for node_id in without]
            n_counted = sum(slots_of_node(room, cpus=cpus, gpus=gpus) for room in rooms)
        self._groups = [
            placement_group([bundle], bundle_label_selector=selector) for _ in range(1 + n_counted)
        ]

    def is_met(self) -> bool:
        """Tell whether there is one."""
        found: list[dict[str, Any]] = [placement_group_table(group) for group in self._groups]
        return any(group.get("state") != "PENDING" for group in found)

    def withdraw(self) -> None:
        """Ask no more, and give back what was found."""
        for group in self._groups:
            remove_placement_group(group)


class NodeDemand(tune.Callback):
    """Looks in each turn of Tune's loop whether another node is wanted."""

    def __init__(
        self, is_short: Callable[[], bool], ask: Callable[[], Wish], *,
        waits_for_others: Callable[[], bool], is_heard: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Ask for nothing yet.

        Args:
            is_short: tells whether a trial is left for which the nodes have no room.
            ask: asks for a place of a trial's size.
            waits_for_others: tells whether a trial that was handed out has no place; asked only
                while one of Tune's trials waits.
            is_heard: tells whether the cluster has an autoscaler; asked now and then until it has.
            clock: in seconds.
        """
        self._is_short, self._waits_for_others = is_short, waits_for_others
        self._ask = ask
        self._hears = is_heard
        self._clock = clock
        self._wish: Wish | None = None
        self._is_heard = False
        self._next_look = self._next_hearing = self._not_before = self._wanted_until = -math.inf

    @property
    def is_made(self) -> bool:
        """Whether an autoscaler is asked for a node."""
        return self._wish is not None

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Ask, or ask no more."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY_S
            with contextlib.suppress(*_SILENT):
                self._look(now, any(trial.status == Trial.PENDING for trial in trials))

    def on_experiment_end(self, trials: list[Trial], **info: object) -> None:
        """Ask for nothing any more."""
        self.withdraw()

    def _look(self, now: float, some_wait: bool) -> None:
        if not self._is_heard_at(now):
            return
        if self._is_short() or (some_wait and (self.is_made or self._waits_for_others())):
            self._wanted_until = now + KEEP_S
        if now >= self._wanted_until:
            self.withdraw()
        elif self._wish is None:
            if now >= self._not_before:
                self._wish = self._ask()
        elif self._wish.is_met():
            self._not_before = now + AGAIN_AFTER_S
            self.withdraw()

    def _is_heard_at(self, now: float) -> bool:
        if not self._is_heard and now >= self._next_hearing:
            self._next_hearing = now + _HEARD_EVERY_S
            self._is_heard = self._hears()
        return self._is_heard

    def withdraw(self) -> None:
        """Ask for nothing any more."""
        wish, self._wish = self._wish, None
        if wish is not None:
            with contextlib.suppress(*_SILENT):
                wish.withdraw()

    def __getstate__(self) -> dict[str, Any]:
        """Keep what it holds out of Tune's files."""
        return {}


def demand_of(
    driver: StudyDriver, *, cpus: float, gpus: float,
    refused: Callable[[], Collection[str]] = tuple,
) -> NodeDemand:  # fmt: skip
    """Return what asks for nodes on behalf of a search.

    Args:
        driver: of the search.
        cpus: of a trial.
        gpus: of a trial, where the driver shares no GPUs.
        refused: returns the identifiers of nodes with room that may take no trials.
    """

    def is_short() -> bool:
        running = driver.running
        is_more_left = driver.n_left > len(running) and not driver.stop_requested
        return is_more_left and running.is_full

    def ask() -> Place:
        sharing = driver.running.sharing
        share = sharing.share if sharing.n_gpus else gpus
        return Place(cpus=cpus, gpus=share, without=refused())

    return NodeDemand(
        is_short, ask, waits_for_others=is_any_without_a_place, is_heard=has_autoscaler
    )


def has_autoscaler() -> bool:
    """Tell whether something adds nodes to the cluster when something waits for them.

    KubeRay's (version 2) says so. That of `ray up` (version 1) reports types of nodes by name,
    while a cluster without one reports each node as a type `node_ID`.
    """
    if _is_version_2():
        return True
    status = json.loads(internal_kv._internal_kv_get(b"__autoscaling_status") or b"{}")
    report = status.get("autoscaler_report") or {}
    types = set((report.get("node_type_mapping") or {}).values())
    types |= (report.get("active_nodes") or {}).keys()
    return any(re.fullmatch(r"node_[0-9a-f]+", name) is None for name in types)


def _is_version_2() -> bool:
    enabled = internal_kv._internal_kv_get(b"__autoscaler_v2_enabled", namespace=b"__autoscaler")
    return bool(enabled == b"1")
