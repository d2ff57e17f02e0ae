"""Open the workspace's MLflow store: quiet, without telemetry, without pickles.

The store is `WORKSPACE/mlflow.db` (SQLite) with artifacts under `WORKSPACE/mlartifacts`. It is a
projection of our ledgers: whoever deletes it loses nothing. MLflow is imported when a store is
opened, never earlier; one process at a time writes it.
"""

import fcntl
import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsearch.errors import DexSearchError, EnvironmentFault

EXPERIMENT = "dexsearch"
DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
SAFE_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ALLOW_MODEL_CODE_EXECUTION": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
"""What MLflow reads when it is imported; a value that the user has set stays."""


@dataclass(frozen=True, slots=True)
class TrackingStore:
    """An open MLflow store; `client` is its `MlflowClient`."""

    client: Any
    experiment_id: str
    artifacts: Path


def tracking_uri(workspace: Path) -> str:
    """Return the address of a workspace's store, as `mlflow ui --backend-store-uri` takes it."""
    return f"sqlite:///{(workspace / DATABASE).absolute()}"


@contextmanager
def open_tracking(workspace: Path) -> Iterator[TrackingStore]:
    """Open the store of a workspace for writing, and make it if it is missing.

    Raises:
        EnvironmentFault: if the database cannot be used; the ledgers still hold everything.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    with (workspace / f"{DATABASE}.lock").open("w") as lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fcntl.flock(lock, fcntl.LOCK_EX)
        _refuse_damaged(workspace / DATABASE)
        try:
            yield _connect(workspace)
            if not (workspace / DATABASE).exists():
                raise _unusable(workspace / DATABASE, "it was deleted while it was written")
        except DexSearchError:
            raise
        except Exception as error:
            if not type(error).__module__.startswith(("mlflow", "sqlalchemy", "sqlite3")):
                raise
            first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise _unusable(workspace / DATABASE, first_line) from error


def _connect(workspace: Path) -> TrackingStore:
    for name, value in SAFE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow import MlflowClient  # noqa: PLC0415  (two seconds; only when something is written)

    uri = tracking_uri(workspace)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    artifacts = (workspace / ARTIFACTS).absolute()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        identifier = client.create_experiment(EXPERIMENT, artifact_location=artifacts.as_uri())
    else:
        identifier = experiment.experiment_id
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(identifier)
    return TrackingStore(client, identifier, artifacts)


def _refuse_damaged(database: Path) -> None:
    """Ask SQLite itself first: MLflow tries ten times, for minutes, to open a damaged file."""
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(database, timeout=5)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise _unusable(database, str(error)) from None


def _unusable(database: Path, reason: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"MLflow's {str(database)!r} cannot be written: {reason}",
        hint="nothing is lost; delete that file and run the same dexsearch tune again, "
        "which rebuilds it from the ledgers",
    )
