"""Laws of `doctor` about MLflow: what is behind, what was changed by hand; nothing is written."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dexsearch.jobs.checkup import Check, State
from dexsearch.jobs.doctor_mlflow import mlflow_checks
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import LEDGER_NAME
from dexsearch.registry.address import check_uri
from dexsearch.registry.inspection import known_schemas, look_at_tracking, run_ids
from dexsearch.registry.mirror import sync_workspace
from dexsearch.registry.record import read_registry
from dexsearch.registry.server import ServerSettings, running_server
from dexsearch.registry.store import register
from dexsearch.registry.tracking import tracking_uri

sys.path.insert(0, str(Path(__file__).parent / "support"))
sys.path.insert(0, str(Path(__file__).parents[1] / "registry" / "support"))
from postgresql import postgresql_server
from small_studies import begin_study, everything, pack

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NAME = "dexsearch-bone"


def faults(workspace: Path, uri: str | None = None) -> list[Check]:
    """Return the checks that are not ok, after looking that nothing was written."""
    before = everything(workspace)
    found = list(mlflow_checks(workspace, uri))
    assert everything(workspace) == before
    assert all((check.fix is None) == (check.state is State.OK) for check in found)
    return [check for check in found if check.state is not State.OK]


def client(workspace: Path, uri: str | None = None) -> Any:  # noqa: ANN401
    from mlflow import MlflowClient

    address = check_uri(uri) or tracking_uri(workspace)
    return MlflowClient(tracking_uri=address, registry_uri=address)


@pytest.fixture(scope="module")
def _synced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("synced")
    begin_study(workspace, ("complete", 0.7), ("complete", 0.9), ("pruned", 0.2))
    register(workspace, [pack(workspace, 1, 0.9), pack(workspace, 0, 0.7)])
    sync_workspace(workspace)
    return workspace


@pytest.fixture
def workspace(_synced: Path, tmp_path: Path) -> Path:
    """A copy of a workspace whose MLflow is up to its ledgers."""
    copy = tmp_path / "workspace"
    shutil.copytree(_synced, copy)
    return copy


@pytest.fixture
def database(workspace: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(workspace / "mlflow.db", isolation_level=None)) as connection:
        yield connection


def test_a_synced_store_is_well_and_its_absence_is_told(workspace: Path) -> None:
    assert faults(workspace) == []
    (workspace / "mlflow.db").unlink()
    (fault,) = faults(workspace)
    assert fault.state is State.WARNING
    assert "sync" in str(fault.fix)
    shutil.rmtree(workspace / "studies")
    assert faults(workspace) == []


def test_what_the_ledgers_have_since_is_counted(workspace: Path) -> None:
    with EventLog(workspace / "studies" / "ribs" / LEDGER_NAME) as log:
        started = {"trial": 3, "params": {}, "config": {}, "immune": False, "enqueued": False}
        log.append({"event": "trial_started", **started})
        log.append({"event": "trial_started", **started, "trial": 4})
    (fault,) = faults(workspace)
    assert (fault.name, fault.state) == ("runs", State.WARNING)
    assert "2 trials" in fault.found
    sync_workspace(workspace)
    assert faults(workspace) == []
    with EventLog(workspace / "studies" / "ribs" / LEDGER_NAME) as log:
        record = {"epoch": 1, "val_ssim": 0.5, "val_psnr": 20.0, "seconds": 1.0}
        log.append({"event": "epoch", "trial": 3, "record": record})
        log.append({"event": "trial_ended", "trial": 3, "state": "failed"})
    (fault,) = faults(workspace)
    assert "3 points of curves, 1 ends of trials" in fault.found


def test_an_alias_moved_by_hand_is_named_and_one_that_is_late_is_not_blamed(
    workspace: Path,
) -> None:
    client(workspace).set_registered_model_alias(NAME, "champion", "2")
    client(workspace).set_registered_model_alias(NAME, "favourite", "2")
    (fault,) = faults(workspace)
    assert f"{NAME}@champion was moved to version 2 in MLflow by hand" in fault.found
    sync_workspace(workspace)
    assert faults(workspace) == []
    with EventLog(workspace / "registry.jsonl") as log:
        log.append({"event": "alias", "name": NAME, "alias": "champion", "version": 2})
    (fault,) = faults(workspace)
    assert "by hand" not in fault.found
    assert f"{NAME}@champion" in fault.found


def test_an_alias_removed_by_hand_is_named(workspace: Path) -> None:
    client(workspace).delete_registered_model_alias(NAME, "champion")
    (fault,) = faults(workspace)
    assert "was removed in MLflow by hand, from version 1" in fault.found


def test_versions_of_one_side_only_are_named_one_by_one(workspace: Path) -> None:
    mlflow = client(workspace)
    for _ in range(2):
        mlflow.create_model_version(NAME, source=(workspace / "mlartifacts").as_uri())
    told = faults(workspace)
    assert [fault.name for fault in told] == [f"{NAME}/3 in MLflow", f"{NAME}/4 in MLflow"]
    assert all("by hand" in fault.found for fault in told)
    for number in ("3", "4", "2"):
        mlflow.delete_model_version(NAME, number)
    (fault,) = faults(workspace)
    assert (fault.name, f"{NAME}/2" in fault.found) == ("versions", True)
    sync_workspace(workspace)  # MLflow gives no number twice
    assert faults(workspace) == []
    numbers = look_at_tracking(workspace).numbers(read_registry(workspace))  # type: ignore[union-attr]
    assert numbers[NAME, 2] > 2


def test_a_version_of_a_lost_registry_is_named(workspace: Path) -> None:
    log = workspace / "registry.jsonl"
    kept = [line for line in log.read_text().splitlines() if '"version":2' not in line]
    log.write_text("\n".join(kept) + "\n")
    (fault,) = faults(workspace)
    assert fault.name == f"{NAME}/2 in MLflow"
    assert "ribs/0" in fault.found


def test_an_older_database_is_told_and_not_migrated(
    workspace: Path, database: sqlite3.Connection
) -> None:
    newest, older, *_ = known_schemas()
    database.execute("UPDATE alembic_version SET version_num = ?", (older,))
    (fault,) = faults(workspace)
    assert fault.state is State.WARNING
    assert "older MLflow" in fault.found
    assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [(older,)]
    assert newest in fault.found


def test_a_newer_database_is_a_problem(workspace: Path, database: sqlite3.Connection) -> None:
    database.execute("UPDATE alembic_version SET version_num = 'fffffffffff1'")
    (fault,) = faults(workspace)
    assert fault.state is State.PROBLEM
    assert "upgrade mlflow" in str(fault.fix)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 500])
def test_a_damaged_database_is_a_problem_and_no_run_is_known(
    workspace: Path, content: bytes
) -> None:
    (workspace / "mlflow.db").write_bytes(content)
    (fault,) = faults(workspace)
    assert (fault.state, "mlflow.db" in fault.found) == (State.PROBLEM, True)
    assert run_ids(workspace) is None


def test_a_damaged_registry_is_not_blamed_on_mlflow(workspace: Path) -> None:
    log = workspace / "registry.jsonl"
    log.write_bytes(b"nonsense\n" + log.read_bytes())
    (fault,) = faults(workspace)
    assert fault.state is State.WARNING


def test_an_address_that_does_not_answer_is_a_problem_without_its_password(
    workspace: Path,
) -> None:
    for uri in ("http://me:secret@127.0.0.1:9", "postgresql://me:secret@127.0.0.1:9/mlflow"):
        (fault,) = faults(workspace, uri)
        assert fault.state is State.PROBLEM
        assert "127.0.0.1:9" in fault.found
        assert "secret" not in fault.found + str(fault.fix)


def test_a_server_and_a_database_behind_it_are_compared_like_the_file(
    workspace: Path, tmp_path: Path
) -> None:
    with running_server(ServerSettings(tmp_path / "server", port=0)) as (url, _):
        _compare_elsewhere(workspace, url)


def test_postgresql_is_compared_like_the_file(workspace: Path) -> None:
    with postgresql_server() as uri:
        (fault,) = faults(workspace, uri)  # it has no tables yet, and gets none
        assert fault.state is State.PROBLEM
        _compare_elsewhere(workspace, uri)


def _compare_elsewhere(workspace: Path, uri: str) -> None:
    sync_workspace(workspace, uri=uri)
    assert faults(workspace, uri) == []
    own, there = look_at_tracking(workspace), look_at_tracking(workspace, uri)
    assert own is not None
    assert there is not None
    assert (own.runs, own.versions, own.aliases) == (there.runs, there.versions, there.aliases)
    mlflow = client(workspace, uri)
    mlflow.set_registered_model_alias(NAME, "champion", "2")
    first = mlflow.get_model_version(NAME, "1")
    mlflow.create_model_version(NAME, source=first.source, run_id=first.run_id)
    assert {fault.name for fault in faults(workspace, uri)} == {"alias", f"{NAME}/3 in MLflow"}
    assert faults(workspace) == []


def test_a_reader_does_not_wait_for_a_writer_to_end(
    workspace: Path, database: sqlite3.Connection
) -> None:
    database.execute("BEGIN IMMEDIATE")
    try:
        assert faults(workspace) == []
    finally:
        database.execute("ROLLBACK")
    assert os.path.getsize(workspace / "mlflow.db") > 0
