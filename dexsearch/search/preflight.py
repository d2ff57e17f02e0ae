"""Look at every node of a cluster before the first trial, in seconds; after joining it.

Every node that may run trials is asked at once whether it has the same software, sees the storage
and the dataset, and has space left. All that is wrong with all of them is told together.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dexsearch.config.space import ResourcesConfig
from dexsearch.errors import EnvironmentFault
from dexsearch.location import shown
from dexsearch.search import preflight_node
from dexsearch.search.preflight_asking import Questions, ask_living_nodes, in_time
from dexsearch.search.preflight_node import Answer, Question
from dexsearch.search.preflight_report import (
    SHARE_STORAGE,
    Finding,
    NodeReport,
    counted,
    dataset_note,
    findings,
    why_refused,
)
from dexsearch.search.preflight_room import Node, living_nodes, nodes_of_trials, wait_for_room

Tell = Callable[[str], None]

_MORE_PER_NODE_S = 2.0
_NO_TRIALS = "; it gets no trials until then"
_SHIPPING_S = 60.0  # Ray unpacks the code on a node before its first worker starts


@dataclass(frozen=True, slots=True)
class PreflightRequest:
    """What a search asks of a cluster."""

    address: str
    """As the user gave it."""
    storage: str | None
    """Folder or URI of its checkpoints; None is not looked at."""
    dataset: Path | None
    """Its folder; None is not looked at."""
    digest: str | None
    resources: ResourcesConfig
    ship_code: bool = False
    continues: bool = False
    """Whether the search has trials already: then it goes on where one node is fit."""
    patience_s: float = 60.0
    """How long a node with room for a trial may take to join, where there is no autoscaler."""
    answer_s: float = 60.0
    """How long one node, and the storage, may take to answer."""

    def answer_within_s(self, n_nodes: int) -> float:
        """Return how long nodes may take that all start a worker at once."""
        shipping_s = _SHIPPING_S if self.ship_code else 0.0
        return self.answer_s + _MORE_PER_NODE_S * n_nodes + shipping_s


@dataclass(frozen=True, slots=True)
class FitNodes:
    """The nodes that have passed, and why others have not."""

    reports: tuple[NodeReport, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    """By the identifier of the node; only in a search that goes on without these."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the nodes answered, and what is wrong with them."""

    reports: tuple[NodeReport, ...]
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """What keeps the search from running."""
        return tuple(finding for finding in self.findings if finding.is_refusal)

    def __str__(self) -> str:
        """Return the line for a person."""
        gpus = counted(sum(report.gpus for report in self.reports), "GPU")
        cpus = counted(sum(report.cpus for report in self.reports), "CPU")
        n = len(self.findings)
        verdict = counted(n, "warning") if n else "all well"
        nodes = counted(len(self.reports), "node")
        return f"preflight: {nodes}, {gpus}, {cpus}: {verdict} ({self.seconds:.1f} s)"


def preflight(
    request: PreflightRequest, tell: Tell, *, is_stopped: Callable[[], bool] = lambda: False
) -> FitNodes:
    """Look at the nodes on which trials may run; wait for one where there is none yet.

    A search does not begin while any of them is refused: whoever starts it is there to put that
    right. One that continues would else not outlive its driver for as long as such a node stays,
    so it goes on without, and says so.

    Args:
        request: what the search asks for.
        tell: is given each line that a waiting person wants to read.
        is_stopped: whether the user has asked to stop; then nothing may come back.

    Raises:
        EnvironmentFault: with every refusal of every node; in a search that continues only where
            none is fit. Also if no node has room for a trial.
    """
    if request.storage is not None:
        with contextlib.suppress(Exception):  # what is wrong with it is told by asking
            in_time(request.answer_s, preflight_node.end_stale_probes, request.storage)
    found = _inspected(request, tell, is_stopped)
    if is_stopped():
        return FitNodes()
    fit = _fit_of(request, found)
    if found.refusals and not (request.continues and fit.reports):
        raise refusal(found, continues=request.continues)
    tell(str(found))
    for finding in found.findings:
        tell(f"warning: {finding}{_NO_TRIALS if finding.is_refusal else ''}")
    if (note := dataset_note(fit.reports)) is not None:
        tell(f"preflight: {note}")
    return fit


def _fit_of(request: PreflightRequest, found: Inspection) -> FitNodes:
    """Judge each node alone: of a disk that they share only one is named."""
    if not found.refusals:
        return FitNodes(found.reports)
    here = _own_answer()
    why = {r.node_id: why_refused(judged_nodes(request, [r], here)) for r in found.reports}
    return FitNodes(
        tuple(report for report in found.reports if not why[report.node_id]),
        {node_id: reason for node_id, reason in why.items() if reason},
    )


def _inspected(
    request: PreflightRequest, tell: Tell, is_stopped: Callable[[], bool]
) -> Inspection:
    """Wait for room and look at the nodes; again where all of them have left meanwhile."""
    while True:
        nodes = wait_for_room(
            request.resources,
            tell,
            address=request.address,
            patience_s=request.patience_s,
            is_stopped=is_stopped,
        )
        if is_stopped():
            return Inspection((), (), 0.0)
        found = inspect_nodes(request, nodes, tell, is_stopped=is_stopped)
        if found.reports or is_stopped():
            return found


def refusal(found: Inspection, *, continues: bool = False) -> EnvironmentFault:
    """Return all refusals as one error."""
    n_bad = len({finding.node for finding in found.refusals})
    first = f"{n_bad} of {len(found.reports)} nodes cannot run trials of this search:"
    return EnvironmentFault(
        "\n".join([first, *map(str, found.refusals)]),
        hint="put them right or take them out of the cluster; "
        + ("the same command then continues" if continues else "nothing has been trained"),
    )


def inspect_cluster(request: PreflightRequest) -> Inspection:
    """Look at the nodes as they are; waits for none.

    Without a node that has room for a trial, all are looked at.
    """
    nodes = living_nodes()
    return inspect_nodes(request, nodes_of_trials(nodes, request.resources) or nodes)


def inspect_nodes(
    request: PreflightRequest,
    nodes: Sequence[Node],
    tell: Tell = lambda text: None,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Inspection:
    """Ask nodes, all at once, and judge what they answer; not those that leave meanwhile.

    Raises:
        EnvironmentFault: if this machine cannot use the storage.
    """
    begun = time.monotonic()
    reports = asked_nodes(request, nodes, tell, is_stopped=is_stopped)
    judged = judged_nodes(request, reports)
    return Inspection(tuple(reports), tuple(judged), time.monotonic() - begun)


def asked_nodes(
    request: PreflightRequest,
    nodes: Sequence[Node],
    tell: Tell = lambda text: None,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
) -> list[NodeReport]:
    """Return what nodes answer, and leave nothing in the storage.

    Raises:
        EnvironmentFault: if this machine cannot use the storage.
    """
    place, secret = None, ""
    if request.storage is not None:
        place, secret = _begun_probe(request.storage, request.answer_s)
    try:
        if is_stopped():  # Ray may have been left: a task would start another one
            return []
        questions = Questions(
            request.dataset, request.digest, place, secret,
            request.answer_within_s(len(nodes)), is_stopped,
        )  # fmt: skip
        return ask_living_nodes(nodes, questions, tell)
    finally:
        if place is not None:
            in_time(request.answer_s, preflight_node.end_probe, place)


def judged_nodes(
    request: PreflightRequest, reports: Sequence[NodeReport], here: Answer | None = None
) -> list[Finding]:
    """Return what is wrong with nodes, beside what this process has (`here`, where known)."""
    here = here or _own_answer()
    return findings(reports, here, storage=request.storage, ship_code=request.ship_code)


def _begun_probe(storage: str, longest_s: float) -> tuple[str, str]:
    try:
        return in_time(longest_s, preflight_node.begin_probe, storage)
    except Exception as error:  # whatever a file system or pyarrow says
        told = next(iter(str(error).splitlines()), type(error).__name__)[:300]
        raise EnvironmentFault(
            f"this machine cannot write into the storage {shown(storage)}: {told}",
            hint=SHARE_STORAGE,
        ) from error


def _own_answer() -> Answer:
    return preflight_node.look(
        Question(storage=None, secret="", name="", dataset=None, digest=None, gpus=False)
    )
