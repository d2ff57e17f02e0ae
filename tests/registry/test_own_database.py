"""What is advised for a database that cannot be used fits what SQLite says of it."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dexsearch.durable import file_sha256
from dexsearch.registry.own_database import follow_move, remedy


def _locked(path: Path) -> Callable[[], None]:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN EXCLUSIVE")
    return holder.close


def _damaged(path: Path) -> Callable[[], None]:
    path.write_bytes(b"no database" * 1000)
    return lambda: None


@pytest.mark.parametrize(
    ("spoil", "advice", "deletes"),
    [(_locked, "end the program", False), (_damaged, "rebuilds it from the ledgers", True)],
)
def test_a_database_is_to_be_deleted_only_where_that_helps(
    tmp_path: Path, spoil: Callable[[Path], Callable[[], None]], advice: str, deletes: bool
) -> None:
    mend = spoil(tmp_path / "mlflow.db")
    try:
        with pytest.raises(sqlite3.Error) as refused:
            follow_move(tmp_path / "mlflow.db", "file:///a", "dexsearch")
    finally:
        mend()
    told = remedy(str(refused.value))
    assert advice in told
    assert ("delete" in told) is deletes


@pytest.mark.parametrize(
    "reason", ["attempt to write a readonly database", "database or disk is full"]
)
def test_a_file_that_cannot_be_written_is_not_to_be_deleted(reason: str) -> None:
    assert "delete" not in remedy(reason)


SYNC = (
    "import sys; from pathlib import Path; from dexsearch.registry.tracking import open_tracking\n"
    "with open_tracking(Path(sys.argv[1])) as store: print(store.experiment_id)"
)


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_makes_the_tables_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SYNC, str(tmp_path)]
    with subprocess.Popen(command) as maker:
        while not any(path.stat().st_size for path in tmp_path.glob("mlflow.db.partial-*/*")):
            assert maker.poll() is None
            time.sleep(0.001)
        maker.send_signal(signal.SIGKILL)
    assert not (tmp_path / "mlflow.db").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert sorted(path.name for path in tmp_path.glob("mlflow.db*")) == [
        "mlflow.db",
        "mlflow.db.lock",
    ]
    before = file_sha256(tmp_path / "mlflow.db")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert file_sha256(tmp_path / "mlflow.db") == before
