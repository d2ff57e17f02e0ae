"""Is there a node that a trial fits on? If not, wait for one to join, and say so."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from dexsearch.config.space import ResourcesConfig
from dexsearch.errors import EnvironmentFault
from dexsearch.search.capacity import slots_of_node
from dexsearch.search.node_demand import Place, has_autoscaler
from dexsearch.search.preflight_report import counted

TELL_EVERY_S, TELL_EVERY_LATER_S, LATER_S = 5.0, 60.0, 60.0
_LOOK_EVERY_S = 0.5

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Node:
    """A node that lives."""

    node_id: str
    ip: str
    hostname: str
    cpus: float
    gpus: float

    def has_room(self, cpus: float, gpus: float) -> bool:
        """Whether a trial fits when nothing else runs there."""
        return slots_of_node({"CPU": self.cpus, "GPU": self.gpus}, cpus=cpus, gpus=gpus) > 0


def living_nodes() -> list[Node]:
    """Return the nodes of the cluster that this process has joined."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [
        Node(
            node["NodeID"], node["NodeManagerAddress"], node["NodeManagerHostname"],
            float(node["Resources"].get("CPU", 0)), float(node["Resources"].get("GPU", 0)),
        )
        for node in nodes
        if node["Alive"]
    ]  # fmt: skip


def nodes_of_trials(nodes: Sequence[Node], resources: ResourcesConfig) -> list[Node]:
    """Return the nodes on which trials may run.

    With `gpus: auto` those with GPUs where there are any: no trial goes to the others.
    """
    gpus = 0.0 if resources.gpus == "auto" else float(resources.gpus)
    if resources.gpus == "auto" and any(node.gpus >= 1 for node in nodes):
        nodes = [node for node in nodes if node.gpus >= 1]
    return [node for node in nodes if node.has_room(resources.cpus, gpus)]


def wait_for_room(
    resources: ResourcesConfig,
    tell: Tell,
    *,
    address: str,
    patience_s: float,
    is_stopped: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> list[Node]:
    """Return the nodes on which trials may run, as soon as there is one.

    Where the cluster has an autoscaler, that one is asked for a node and waited for without an
    end.

    Args:
        resources: of a trial.
        tell: hears every few seconds what is waited for.
        address: of the cluster, for the message.
        patience_s: how long nodes may take to join a cluster without an autoscaler.
        is_stopped: whether the user has asked to stop; then there may be no node.
        clock: in seconds.

    Raises:
        EnvironmentFault: if no node has room after that time.
    """
    begun = clock()
    next_line_s = 0.0
    with _Demand(resources) as demand:
        while not is_stopped():
            nodes = living_nodes()
            if found := nodes_of_trials(nodes, resources):
                return found
            waited_s = clock() - begun
            if waited_s >= patience_s and not demand.is_heard:
                raise no_room(nodes, resources, address, waited_s)
            demand.make()
            if waited_s >= next_line_s:
                tell(waiting_line(nodes, resources))
                is_later = waited_s >= LATER_S
                next_line_s = waited_s + (TELL_EVERY_LATER_S if is_later else TELL_EVERY_S)
            time.sleep(min(_LOOK_EVERY_S, max(0.0, patience_s - waited_s)) or _LOOK_EVERY_S)
    return []


def waiting_line(nodes: Sequence[Node], resources: ResourcesConfig) -> str:
    """Say what is waited for, and what there is."""
    gpus = 0.0 if resources.gpus == "auto" else float(resources.gpus)
    if gpus and not any(node.gpus for node in nodes):
        return f"waiting for {counted(gpus, 'GPU')}: the cluster has none yet; Ctrl-C stops"
    return f"waiting for a node with {_asked(resources)}: {_largest(nodes, gpus)}; Ctrl-C stops"


def no_room(
    nodes: Sequence[Node], resources: ResourcesConfig, address: str, waited_s: float = 0.0
) -> EnvironmentFault:
    """Return why the cluster runs no trial of this size."""
    gpus = 0.0 if resources.gpus == "auto" else float(resources.gpus)
    waited = f" (waited {waited_s:.0f} s for nodes to join)" if waited_s >= 1 else ""
    return EnvironmentFault(
        f"a trial needs a node with {_asked(resources)}: {_largest(nodes, gpus)}{waited}",
        hint=f"add such a node with `ray start --address={address} --num-gpus=N`, or lower "
        "resources.cpus or resources.gpus in the search space",
    )


def _asked(resources: ResourcesConfig) -> str:
    cpus = counted(resources.cpus, "CPU")
    if resources.gpus in ("auto", 0):
        return cpus
    return f"{counted(float(resources.gpus), 'GPU')} and {cpus}"


def _largest(nodes: Sequence[Node], gpus: float) -> str:
    """Say which node comes nearest."""
    if not nodes:
        return "the cluster has no node"
    best = max(nodes, key=lambda node: (node.gpus, node.cpus) if gpus else (node.cpus, node.gpus))
    what = counted(best.cpus, "CPU") + (f" and {counted(best.gpus, 'GPU')}" if gpus else "")
    return f"the largest, {best.ip} ({best.hostname}), has {what}"


class _Demand:
    """A place of a trial's size that is asked for, so that an autoscaler adds a node."""

    def __init__(self, resources: ResourcesConfig) -> None:
        self._resources = resources
        self._place: Place | None = None
        self._is_heard: bool | None = None

    @property
    def is_heard(self) -> bool:
        """Whether the cluster has an autoscaler."""
        if self._is_heard is None:
            self._is_heard = has_autoscaler()
        return self._is_heard

    def make(self) -> None:
        """Ask for a node, once, where somebody hears it."""
        if self._place is None and self.is_heard:
            gpus = 0.0 if self._resources.gpus == "auto" else float(self._resources.gpus)
            self._place = Place(cpus=self._resources.cpus, gpus=gpus)

    def __enter__(self) -> "_Demand":
        return self

    def __exit__(self, *_: object) -> None:
        if self._place is not None:
            self._place.withdraw()
