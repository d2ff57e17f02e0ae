"""What MLflow's client cannot change in the workspace's own SQLite file: where things are.

MLflow keeps absolute places. A workspace that was moved or copied takes its database with it, so
the places are corrected in the file itself. A server or a database of somebody else is never
touched this way; there the files lie among the run's artifacts, wherever the workspace goes.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from dexsearch.durable import flush_folder, partial_beside, remove_orphans


def make_database(database: Path, artifacts: str) -> None:
    """Make MLflow's tables where there is no database yet; MLflow has to be importable.

    MLflow makes them by some fifty migrations. A process that is ended among them leaves a file
    that no later one can open, so they are made in a folder beside it, and the whole file is moved
    to its place.

    Args:
        database: the file; nothing happens if it is there.
        artifacts: URI of the artifacts' folder.
    """
    if database.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415  (slow)

    remove_orphans(database.parent, database.name)
    partial = partial_beside(database)
    try:
        partial.mkdir()
        uri = f"sqlite:///{partial / database.name}"
        SqlAlchemyStore(uri, artifacts).engine.dispose()  # type: ignore[no-untyped-call]
        (partial / database.name).rename(database)
        # MLflow keeps connections, perhaps to an earlier file of this name that was deleted.
        SqlAlchemyStore(f"sqlite:///{database}", artifacts).engine.dispose()  # type: ignore[no-untyped-call]
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    flush_folder(database.parent)


def remedy(reason: str) -> str:
    """Return what to do about a database that cannot be used, by what SQLite says of it."""
    if "locked" in reason:
        return "nothing is lost: end the program that has it open, then run dexsearch sync"
    if "readonly" in reason or "full" in reason:
        return "nothing is lost: mend its folder's permissions or space, then run dexsearch sync"
    return "nothing is lost: delete that file, then dexsearch sync rebuilds it from the ledgers"


def follow_move(database: Path, artifacts: str, experiment: str) -> None:
    """Point a database at the artifacts beside it, also where it was copied from elsewhere.

    What was made through a server lies where that server says, and stays.

    Asking SQLite first also tells of a damaged file at once: MLflow tries ten times, for
    minutes, to open one.

    Args:
        database: the file; nothing happens if it is missing.
        artifacts: URI of the artifacts' folder, as it should be.
        experiment: name of the experiment whose runs these are.
    """
    if not database.exists():
        return
    with closing(sqlite3.connect(database, timeout=5)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not {"experiments", "runs"} <= tables:
            return
        experiments = connection.execute(
            "SELECT experiment_id, artifact_location FROM experiments "
            "WHERE name = ? AND artifact_location != ? AND artifact_location LIKE 'file:%'",
            (experiment, artifacts),
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


def repoint_version(
    database: Path, name: str, version: int, *, source: str, run_id: str | None
) -> None:
    """Change where the files of a version are.

    Args:
        database: the workspace's own file.
        name: registered model.
        version: its version, as MLflow numbers it.
        source: URI of the files.
        run_id: the run of the version; None leaves it.
    """
    with closing(sqlite3.connect(database, timeout=5)) as connection, connection:
        connection.execute(
            "UPDATE model_versions SET source = ?, storage_location = ?, "
            "run_id = coalesce(?, run_id) WHERE name = ? AND version = ?",
            (source, source, run_id, name, version),
        )
