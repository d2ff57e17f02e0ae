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
    """An open MLflow store."""

    client: Any
    """Its `MlflowClient`."""
    experiment_id: str
    database: Path
    artifacts: Path
    """Where this workspace keeps the artifacts of runs."""

    def repoint_version(self, name: str, version: int, *, source: str, run_id: str | None) -> None:
        """Change where the files of a version are, which MLflow's client cannot.

        Args:
            name: registered model.
            version: its version.
            source: URI of the files.
            run_id: the run of the version; None leaves it.
        """
        with closing(sqlite3.connect(self.database, timeout=5)) as connection, connection:
            connection.execute(
                "UPDATE model_versions SET source = ?, storage_location = ?, "
                "run_id = coalesce(?, run_id) WHERE name = ? AND version = ?",
                (source, source, run_id, name, version),
            )


def tracking_uri(workspace: Path) -> str:
    """Return the address of a workspace's store, as `mlflow ui --backend-store-uri` takes it."""
    return f"sqlite:///{(workspace / DATABASE).absolute()}"


@contextmanager
def open_tracking(workspace: Path) -> Iterator[TrackingStore]:
    """Open the store of a workspace for writing, and make it if it is missing.

    Raises:
        EnvironmentFault: if the database cannot be used; the ledgers still hold everything.
    """
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        with (workspace / f"{DATABASE}.lock").open("w") as lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fcntl.flock(lock, fcntl.LOCK_EX)
            with _told_in_one_line(workspace / DATABASE):
                yield _connect(workspace)
                if not (workspace / DATABASE).exists():
                    raise _unusable(workspace / DATABASE, "it was deleted while it was written")
    except OSError as error:
        raise EnvironmentFault(
            f"MLflow's files in {str(workspace)!r} cannot be written: {error}",
            hint="free disk space or correct the permissions, then run the same command again",
        ) from error


@contextmanager
def _told_in_one_line(database: Path) -> Iterator[None]:
    """Turn every error of MLflow and of what it stands on into an EnvironmentFault."""
    try:
        yield
    except DexSearchError:
        raise
    except Exception as error:
        if not type(error).__module__.startswith(("mlflow", "sqlalchemy", "sqlite3")):
            raise
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _unusable(database, first_line) from error


def _connect(workspace: Path) -> TrackingStore:
    for name, value in SAFE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow import MlflowClient  # noqa: PLC0415  (two seconds; only when something is written)

    database = (workspace / DATABASE).absolute()
    artifacts = (workspace / ARTIFACTS).absolute()
    _follow_move(database, artifacts.as_uri())
    uri = tracking_uri(workspace)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        identifier = client.create_experiment(EXPERIMENT, artifact_location=artifacts.as_uri())
    else:
        identifier = experiment.experiment_id
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(identifier)
    return TrackingStore(client, identifier, database, artifacts)


def _follow_move(database: Path, artifacts: str) -> None:
    """Point a database at the artifacts beside it, also where it was copied from elsewhere.

    MLflow keeps absolute places, and would write the files of a copied workspace into the old
    one. Asking SQLite first also tells of a damaged file at once: MLflow tries ten times, for
    minutes, to open one.
    """
    if not database.exists():
        return
    with closing(sqlite3.connect(database, timeout=5)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not {"experiments", "runs"} <= tables:
            return
        experiments = connection.execute(
            "SELECT experiment_id, artifact_location FROM experiments "
            "WHERE name = ? AND artifact_location != ?",
            (EXPERIMENT, artifacts),
        ).fetchall()
        for identifier, before in experiments:
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (artifacts, identifier),
            )
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, length(?) + 1) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, length(?) + 1) = ? || '/'",
                (artifacts, before, identifier, before, before),
            )


def _unusable(database: Path, reason: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"MLflow's {str(database)!r} cannot be written: {reason}",
        hint="nothing is lost; delete that file and run the same dexsearch tune again, "
        "which rebuilds it from the ledgers",
    )
