"""`dexsearch sync`: what it prints, and how it ends where MLflow or the ledgers are missing."""

import json
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dexsearch.ledger.log import EventLog

STUDY = {
    "event": "study", "study": "ribs", "task": "bone", "metric": 1, "dataset": "datasets/phantom",
    "space": {"objective": "val_ssim", "trials": 1}, "dataset_digest": "d" * 64,
}  # fmt: skip


def sync(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dexsearch", "sync", "--workspace", str(workspace)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    with EventLog(tmp_path / "studies" / "ribs" / "ledger.jsonl") as log:
        log.append(STUDY)
    return tmp_path


def test_a_folder_without_ledgers_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    done = sync(tmp_path)
    assert done.returncode == 3
    assert "neither a study nor registry.jsonl" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dead_server_is_an_environment_fault_with_the_next_command(workspace: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    done = sync(workspace, "--tracking-uri", f"http://me:s3cret@127.0.0.1:{port}")
    assert done.returncode == 4
    assert done.stdout == ""
    assert f"http://me:***@127.0.0.1:{port} cannot be written: connection refused" in done.stderr
    assert "hint: nothing is lost" in done.stderr
    assert "s3cret" not in done.stderr


def test_an_address_that_is_none_is_a_wrong_configuration(workspace: Path) -> None:
    done = sync(workspace, "--tracking-uri", "mlruns")
    assert done.returncode == 3
    assert "sqlite:///FILE" in done.stderr


@pytest.mark.slow
def test_what_mlflow_shows_is_printed_as_json(workspace: Path) -> None:
    for _ in range(2):
        done = sync(workspace, "--format", "json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {
            "tracking_uri": f"sqlite:///{workspace}/mlflow.db",
            "studies": 1,
            "trials": 0,
            "versions": 0,
            "changed_by_hand": [],
        }
