"""Open an MLflow store for writing: quiet, without telemetry, without pickles.

By default the store is `WORKSPACE/mlflow.db` (SQLite) with artifacts under
`WORKSPACE/mlartifacts`; a server or another database does as well. It is a projection of our
ledgers: whoever deletes it loses nothing. MLflow is imported when a store is opened, never
earlier; one process at a time of a workspace writes.
"""

import fcntl
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dexsearch.errors import DexSearchError, EnvironmentFault
from dexsearch.registry.address import (
    DATABASE,
    POSTGRESQL,
    check_uri,
    is_own,
    is_server,
    shown,
    tracking_uri,
    why_silent,
)
from dexsearch.registry.own_database import follow_move, make_database, remedy

__all__ = ["SAFE_ENVIRONMENT", "TrackingStore", "open_tracking", "tracking_uri"]

EXPERIMENT = "dexsearch"
ARTIFACTS = "mlartifacts"
SAFE_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ALLOW_MODEL_CODE_EXECUTION": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "PGCONNECT_TIMEOUT": "10",
    "PGOPTIONS": "-c statement_timeout=30000 -c lock_timeout=30000",
}
"""What MLflow and PostgreSQL's client read at first use; a value that the user has set stays."""
FOREIGN = ("mlflow", "sqlalchemy", "sqlite3", "psycopg2", "requests", "urllib3", "alembic")
"""Whose errors are those of MLflow, not ours."""


@dataclass(frozen=True, slots=True)
class TrackingStore:
    """An open MLflow store."""

    client: Any
    """Its `MlflowClient`."""
    experiment_id: str
    uri: str
    """Its address, password included: never to be shown."""
    workspace: Path
    database: Path | None
    """The workspace's own file; None for any other store."""
    tell: Callable[[str], None] = lambda _: None
    """Is given one line for each thing that somebody changed in MLflow by hand."""


@contextmanager
def open_tracking(
    workspace: Path, uri: str | None = None, tell: Callable[[str], None] = lambda _: None
) -> Iterator[TrackingStore]:
    """Open a store for writing, and make it if it is missing.

    Args:
        workspace: whose ledgers are projected; it is locked against another writer meanwhile.
        uri: address of the store; None for the workspace's own file.
        tell: is given one line for each thing that somebody changed in MLflow by hand.

    Raises:
        ConfigurationError: if `uri` is no address of MLflow.
        EnvironmentFault: if the store cannot be used; the ledgers still hold everything.
    """
    uri = check_uri(uri)
    own = is_own(workspace, uri)
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        with (workspace / f"{DATABASE}.lock").open("w") as lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fcntl.flock(lock, fcntl.LOCK_EX)
            with _told_in_one_line(workspace, None if own else uri):
                yield _connect(workspace, uri, tell)
                if own and not (workspace / DATABASE).exists():
                    raise _unusable(workspace, None, "it was deleted while it was written")
    except OSError as error:
        raise EnvironmentFault(
            f"MLflow's files in {str(workspace)!r} cannot be written: {error}",
            hint="free disk space or correct the permissions, then: dexsearch sync",
        ) from error


def make_safe() -> None:
    """Set the environment that MLflow reads, and quieten it; call it before MLflow is imported."""
    for name, value in SAFE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _told_in_one_line(workspace: Path, uri: str | None) -> Iterator[None]:
    """Turn every error of MLflow and of what it stands on into an EnvironmentFault."""
    try:
        yield
    except DexSearchError:
        raise
    except Exception as error:
        lost = uri is not None and isinstance(error, ConnectionError | TimeoutError)
        if not lost and not type(error).__module__.startswith(FOREIGN):
            raise
        raise _unusable(workspace, uri, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    """Return what went wrong in one short line; requests nest theirs in brackets."""
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return line if len(line) <= 300 else f"{line[:300]}..."


def _connect(workspace: Path, uri: str | None, tell: Callable[[str], None]) -> TrackingStore:
    make_safe()
    database = (workspace / DATABASE).absolute() if is_own(workspace, uri) else None
    artifacts = (workspace / ARTIFACTS).absolute()
    if database is not None:
        make_database(database, artifacts.as_uri())
        follow_move(database, artifacts.as_uri(), EXPERIMENT)
    elif uri is not None:
        _refuse_silent(workspace, uri)
    from mlflow import MlflowClient  # noqa: PLC0415  (two seconds; only when something is written)

    address = uri or tracking_uri(workspace)
    client = MlflowClient(tracking_uri=address, registry_uri=address)
    place = None if is_server(address) else artifacts.as_uri()
    return TrackingStore(
        client, _experiment(client, place, tell), address, workspace, database, tell
    )


def _refuse_silent(workspace: Path, uri: str) -> None:
    """Find out in seconds what MLflow would find out in minutes."""
    if urlsplit(uri).scheme in POSTGRESQL and find_spec("psycopg2") is None:
        raise EnvironmentFault(
            f"{shown(uri)} needs the package psycopg2, which is not installed",
            hint="pip install 'dexsearch[postgresql]'",
        )
    reason = why_silent(uri)
    if reason is not None:
        raise _unusable(workspace, uri, reason)


def _experiment(client: Any, artifacts: str | None, tell: Callable[[str], None]) -> str:  # noqa: ANN401
    """Return the id of our experiment; bring it back if somebody deleted it."""
    known = client.get_experiment_by_name(EXPERIMENT)
    if known is None:
        return str(client.create_experiment(EXPERIMENT, artifact_location=artifacts))
    if known.lifecycle_stage == "deleted":
        tell(f"the experiment {EXPERIMENT!r} was deleted in MLflow by hand; it is restored")
        client.restore_experiment(known.experiment_id)
    return str(known.experiment_id)


def _unusable(workspace: Path, uri: str | None, reason: str) -> EnvironmentFault:
    if uri is not None:
        secret = urlsplit(uri).password
        told = reason.replace(secret, "***") if secret else reason
        return EnvironmentFault(
            f"MLflow at {shown(uri)} cannot be written: {told}",
            hint="nothing is lost: the ledgers hold everything; once it answers: dexsearch sync",
        )
    return EnvironmentFault(
        f"MLflow's {str(workspace / DATABASE)!r} cannot be written: {reason}",
        hint=remedy(reason),
    )
