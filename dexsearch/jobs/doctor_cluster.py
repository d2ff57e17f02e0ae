"""What `doctor` finds of a Ray cluster: whether it takes this process, its token, its nodes."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsearch.config.space import ResourcesConfig
from dexsearch.errors import DexSearchError, EnvironmentFault
from dexsearch.jobs.checkup import Check, Findings
from dexsearch.location import is_uri, shown

if TYPE_CHECKING:
    from dexsearch.search.preflight import Inspection
    from dexsearch.search.preflight_report import NodeReport

_ANY_TRIAL = ResourcesConfig(cpus=1, gpus=0)

_ADDRESS = "correct --address: that of `ray start --head --port=6379`, as in 10.0.0.5:6379"
_STORAGE = "give another --storage"

_find = Findings("cluster")


def cluster_checks(address: str, storage: str | None, workspace: Path) -> Iterator[Check]:
    """Check the cluster as `tune` does before a search; imports Ray.

    Writes a probe into the storage and removes it.

    Args:
        address: `HOST:PORT` or `auto`.
        storage: folder or URI of checkpoints; None: they are kept in the workspace.
        workspace: may be missing; then its nearest parent is looked at.
    """
    from dexsearch.search.cluster import prepare_environment
    from dexsearch.search.joining import joinable_cluster

    prepare_environment(address)
    told: list[str] = []
    try:
        found = joinable_cluster(address, told.append)
        nodes = f"{found.n_nodes} node{'s' if found.n_nodes > 1 else ''}"
        yield _find.ok("joining", f"{found.address}, Ray {found.ray}, {nodes}")
        yield from _token(found.address, told)
        yield from node_and_storage_checks(
            found.address, _existing(workspace) if storage is None else storage
        )
    except EnvironmentFault as error:
        yield _find.problem("joining", str(error), error.hint or _ADDRESS)


def storage_checks(storage: str) -> Iterator[Check]:
    """Check from here alone that checkpoints could be kept in a folder or behind a URI."""
    from dexsearch.search.storage import refuse_unusable_storage

    try:
        refuse_unusable_storage(storage, by_writing=False)
    except DexSearchError as error:
        yield _find.problem("storage", str(error), error.hint or _STORAGE)
    else:
        yield _find.ok("storage", f"{shown(storage)}: usable from here; no node was asked")


def _existing(folder: Path) -> str:
    """Return a folder, or the nearest one above it that is there."""
    absolute = folder.absolute()
    return str(next(path for path in (absolute, *absolute.parents) if os.path.isdir(path)))


def _token(address: str, told: list[str]) -> Iterator[Check]:
    """Look whether strangers are kept out, and whether the token is kept secret."""
    from dexsearch.search.joining import ask
    from dexsearch.search.tokens import MODE

    yield from token_checks(ask(address, {**os.environ, MODE: "disabled"}), told)


def token_checks(stranger: Mapping[str, Any], told: list[str]) -> Iterator[Check]:
    """Judge what was found of the token.

    Args:
        stranger: how the cluster answers a process without a token, from `joining.ask`.
        told: what was said of the token of this process when it joined.
    """
    if stranger["outcome"] == "answer":
        yield _find.warning(
            "token",
            "the cluster asks for none: whoever reaches it can run code on all its nodes",
            "start all its nodes with RAY_AUTH_MODE=token and one token (SECURITY.md)",
        )
    elif stranger["outcome"] != "refused":  # only a refusal shows that strangers are kept out
        yield _find.warning(
            "token",
            f"whether it asks for one could not be found out: {stranger.get('reason')}",
            "run doctor again; until it says ok, take it that nobody is kept out",
        )
    elif not told:
        yield _find.ok("token", "the cluster asks for one, and that of this process is right")
    for line in told:
        found, _, fix = line.removeprefix("warning: ").rpartition(": ")
        yield _find.warning("token", found, fix)


def node_and_storage_checks(address: str, storage: str) -> Iterator[Check]:
    """Check the storage from here, then each node; a cluster that was joined before is asked."""
    from dexsearch.search.preflight import PreflightRequest, inspect_cluster
    from dexsearch.search.ray_cluster import ray_cluster
    from dexsearch.search.storage import refuse_unusable_storage

    try:
        refuse_unusable_storage(storage, by_writing=False)
    except DexSearchError as error:
        yield _find.problem("storage", str(error), error.hint or _STORAGE)
        return
    if not is_uri(storage) and not os.path.isdir(storage):
        yield _find.problem("storage", f"{storage} is no folder here", "make it, or mount it")
        return
    request = PreflightRequest(address, storage, None, None, _ANY_TRIAL)
    with ray_cluster(address):
        try:
            found = inspect_cluster(request)
        except EnvironmentFault as error:
            yield _find.problem("storage", str(error), error.hint or _STORAGE)
            return
    yield from node_checks(found, storage)


def node_checks(found: "Inspection", storage: str) -> Iterator[Check]:
    """Return a row for each node that is well, and one for each thing that is not."""
    for report in found.reports:
        own = [finding for finding in found.findings if finding.node == report.name]
        for finding in own:
            make = _find.problem if finding.is_refusal else _find.warning
            yield make(f"node {report.name}", finding.found, finding.remedy)
        if not own:
            yield _find.ok(f"node {report.name}", _summary(report))
    if not any(finding.about == "storage" for finding in found.findings):
        what = "every node reads and writes it" if len(found.reports) > 1 else "the node uses it"
        kind = shown(storage) if is_uri(storage) else f"the folder {storage}"
        yield _find.ok("storage", f"{kind}: {what}")


def _summary(report: "NodeReport") -> str:
    from dexsearch.search.preflight_report import counted

    room = f"{counted(report.cpus, 'CPU')}, {counted(report.gpus, 'GPU')}"
    answer = report.answer
    if answer is None:
        return room
    versions = ", ".join(f"{name} {number}" for name, number in answer["versions"].items())
    return f"{room}, {versions}, {answer['scratch_free'] / 1e9:.0f} GB free"
