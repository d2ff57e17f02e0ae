"""What is wrong with one node that joined in mid-search, asked and judged as in the preflight."""

from collections.abc import Callable
from dataclasses import dataclass

from dexsearch.search.preflight import PreflightRequest, asked_nodes, judged_nodes
from dexsearch.search.preflight_report import NodeReport, dataset_refusal, why_refused
from dexsearch.search.preflight_room import Node


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a node."""

    why: str = ""
    """Why it may take no trials, with each remedy, without its name; empty where it may."""
    warnings: tuple[str, ...] = ()


Ask = Callable[[Node, Callable[[], bool]], Verdict | None]
"""Asks a node until the function returns True; None where nothing is known of it."""


def asking(request: PreflightRequest, *, needs_dataset: bool) -> Ask:
    """Return what asks a node as the preflight does.

    Args:
        request: that of the preflight.
        needs_dataset: whether the images are not sent, so that a node needs their folder.
    """

    def ask(node: Node, is_stopped: Callable[[], bool]) -> Verdict | None:
        reports = asked_nodes(request, [node], is_stopped=is_stopped)
        return _verdict(request, reports[0], needs_dataset=needs_dataset) if reports else None

    return ask


def _verdict(request: PreflightRequest, report: NodeReport, *, needs_dataset: bool) -> Verdict:
    found = judged_nodes(request, [report])
    if needs_dataset and request.dataset is not None:
        lacking = dataset_refusal(report, request.dataset)
        found += [] if lacking is None else [lacking]
    return Verdict(
        why_refused(found), tuple(finding.told for finding in found if not finding.is_refusal)
    )
