"""What works here, and what does not: this machine, the workspace, MLflow, a cluster.

Nothing is written, but for a probe in the storage, which is removed again.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dexsearch.jobs.checkup import Check, Diagnosis
from dexsearch.jobs.doctor_cluster import cluster_checks, storage_checks
from dexsearch.jobs.doctor_machine import machine_checks
from dexsearch.jobs.doctor_mlflow import mlflow_checks
from dexsearch.jobs.doctor_workspace import workspace_checks

Count = Callable[[int, int], None]


def diagnose(
    workspace: Path,
    *,
    tracking_uri: str | None,
    quick: bool,
    progress: Count,
    address: str | None = None,
    storage: str | None = None,
) -> Diagnosis:
    """Make every check.

    Args:
        workspace: what to look through.
        tracking_uri: another MLflow than the workspace's own.
        quick: do not read the bytes of packages.
        progress: is given (done, total) packages.
        address: of a Ray cluster to look at; None: none.
        storage: where a search would keep its checkpoints; None: in the workspace.
    """
    checks = list(_checks(workspace, tracking_uri, quick, progress, address))
    if address is not None:
        checks += cluster_checks(address, storage, workspace)
    elif storage is not None:
        checks += storage_checks(storage)
    return Diagnosis(tuple(checks))


def _checks(
    workspace: Path, tracking_uri: str | None, quick: bool, progress: Count, address: str | None
) -> Iterator[Check]:
    environment = dict(os.environ)  # as it was given: what is imported sets defaults
    yield from machine_checks(workspace, environment, address=address)
    yield from workspace_checks(workspace, with_hashes=not quick, progress=progress)
    yield from mlflow_checks(workspace, tracking_uri)
