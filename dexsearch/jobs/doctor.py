"""What works here, and what does not: this machine, the workspace, MLflow. Nothing is written."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dexsearch.jobs.checkup import Check, Diagnosis
from dexsearch.jobs.doctor_machine import machine_checks
from dexsearch.jobs.doctor_mlflow import mlflow_checks
from dexsearch.jobs.doctor_workspace import workspace_checks

Count = Callable[[int, int], None]


def diagnose(
    workspace: Path, *, tracking_uri: str | None, quick: bool, progress: Count
) -> Diagnosis:
    """Make every check.

    Args:
        workspace: what to look through.
        tracking_uri: another MLflow than the workspace's own.
        quick: do not read the bytes of packages.
        progress: is given (done, total) packages.
    """
    return Diagnosis(tuple(_checks(workspace, tracking_uri, quick, progress)))


def _checks(
    workspace: Path, tracking_uri: str | None, quick: bool, progress: Count
) -> Iterator[Check]:
    environment = dict(os.environ)  # as it was given: what is imported sets defaults
    yield from machine_checks(workspace, environment)
    yield from workspace_checks(workspace, with_hashes=not quick, progress=progress)
    yield from mlflow_checks(workspace, tracking_uri)
