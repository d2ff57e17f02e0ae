"""`best --tracking-uri` on a machine that never saw the workspace: real servers, other folders."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dexsearch.inference.package import open_package
from dexsearch.ledger.log import EventLog
from dexsearch.ledger.study import StudyRecord
from dexsearch.registry.mirror import sync_workspace
from dexsearch.registry.record import read_registry
from dexsearch.registry.server import ServerSettings, running_server
from dexsearch.registry.store import keep_audit, register
from tests.cli.test_best import package
from tests.jobs.ranking_samples import holdout, replicated

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def best(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `dexsearch best` in a folder of its own."""
    cwd.mkdir(exist_ok=True)
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "DEXSEARCH"))
    }
    return subprocess.run(
        [sys.executable, "-m", "dexsearch", "best", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def fill(workspace: Path) -> None:
    """Register generators with an audit, evidence, replicates and aliases."""
    register(workspace, [package(workspace, 4, 0.91), package(workspace, 2, 0.95)])
    study = StudyRecord("ribs", workspace, {}, "bone", "val_ssim", "d", "d" * 64, 1, ())
    keep_audit(workspace, study, {"n_pruned": 7}, "pruning (median): 7 pruned")
    with EventLog(workspace / "registry.jsonl") as log:
        move = {"name": "dexsearch-bone", "alias": "challenger", "version": 2, "reason": "new"}
        log.append({"event": "alias", **move})
        for event in (*holdout(2, 1, "inconclusive"), replicated(2, begun=study.begun)):
            log.append(event)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    fill(folder)
    return folder


@pytest.fixture
def own_server(workspace: Path) -> Iterator[str]:
    """A server on the workspace's own file: its artifacts are files on its side."""
    sync_workspace(workspace)
    with running_server(ServerSettings(workspace, port=0)) as (url, _):
        yield url


def rows(text: str) -> list[dict[str, object]]:
    return [{key: value for key, value in row.items() if key != "uri"} for row in json.loads(text)]


def assert_same_answer(workspace: Path, url: str, elsewhere: Path) -> None:
    there = best("--tracking-uri", url, "--format", "json", cwd=elsewhere)
    here = best("--workspace", str(workspace), "--format", "json", cwd=elsewhere)
    assert there.returncode == 0, there.stderr
    assert rows(there.stdout) == rows(here.stdout)
    assert len(rows(here.stdout)) == 2
    first = json.loads(there.stdout)[0]
    assert first["evidence"]["verdict"] == "inconclusive"
    assert first["audit"] == {"n_pruned": 7}
    assert first["aliases"] == ["challenger"]
    assert first["uri"] == "models:/dexsearch-bone/2"


def test_a_plain_server_gives_the_same_answer_and_the_files(
    workspace: Path, own_server: str, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    assert_same_answer(workspace, own_server, elsewhere)
    hidden = workspace / "registry.jsonl"
    hidden.rename(hidden.with_suffix(".away"))  # the server alone is asked
    done = best("--tracking-uri", own_server, "--download", "mine", "--top", "1", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert "copied dexsearch-bone@challenger to mine; every hash agrees" in done.stderr
    assert "next: dexsearch predict mine" in done.stderr
    assert open_package(elsewhere / "mine").weights.read_bytes() == b"weights 2"
    assert (elsewhere / "mine" / "pictures" / "1-a.png").read_bytes() == b"png"
    assert [path.name for path in elsewhere.iterdir()] == ["mine"]
    again = best("--tracking-uri", own_server, "--download", "mine", cwd=elsewhere)
    assert again.returncode == 0, again.stderr


def test_a_server_that_proxies_artifacts_gives_the_same(workspace: Path, tmp_path: Path) -> None:
    with running_server(ServerSettings(tmp_path / "server", port=0)) as (url, _):
        sync_workspace(workspace, uri=url)
        shutil.copytree(workspace, tmp_path / "kept")
        assert_same_answer(workspace, url, tmp_path / "elsewhere")
        shutil.rmtree(workspace)  # nothing of it is needed any more
        done = best(
            "--tracking-uri", url, "--download", "mine", "--metric", "val_ssim_bone",
            cwd=tmp_path / "elsewhere",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wanted = read_registry(tmp_path / "kept").find("dexsearch-bone/2").sha256
    assert open_package(tmp_path / "elsewhere" / "mine").sha256 == wanted


def test_a_database_is_asked_without_a_server(workspace: Path, tmp_path: Path) -> None:
    sync_workspace(workspace)
    uri = f"sqlite:///{workspace / 'mlflow.db'}"
    assert_same_answer(workspace, uri, tmp_path / "elsewhere")
    done = best("--tracking-uri", uri, "--download", "mine", cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    assert open_package(tmp_path / "elsewhere" / "mine").weights.read_bytes() == b"weights 2"


def test_aliases_and_numbers_follow_what_people_did_in_mlflow(
    workspace: Path, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    sync_workspace(workspace)
    uri = f"sqlite:///{workspace / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.delete_model_version("dexsearch-bone", "2")
    client.create_model_version("dexsearch-bone", "file:///somewhere")
    sync_workspace(workspace)  # it gets another number there; ours stays
    client.create_registered_model("another-team")
    client.create_model_version("another-team", "file:///theirs")
    client.set_registered_model_alias("dexsearch-bone", "favourite", "1")
    done = best("--tracking-uri", uri, "--format", "json", cwd=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert (first["version"], first["aliases"]) == (2, ["challenger"])
    assert first["uri"] not in ("models:/dexsearch-bone/1", "models:/dexsearch-bone/2")
    assert (second["version"], second["aliases"]) == (1, ["champion", "favourite"])
    passed_over = [line for line in done.stderr.splitlines() if "passed over" in line]
    assert len(passed_over) == 1
    assert "dexsearch did not register it" in passed_over[0]


def test_files_changed_on_the_server_are_refused_and_nothing_is_left(
    workspace: Path, own_server: str, tmp_path: Path
) -> None:
    for weights in workspace.rglob("weights.safetensors"):
        weights.write_bytes(b"flipped")
    elsewhere = tmp_path / "elsewhere"
    done = best("--tracking-uri", own_server, "--download", "mine", cwd=elsewhere)
    assert done.returncode == 7
    first, hint = [line for line in done.stderr.splitlines() if line]
    assert "'weights.safetensors' of dexsearch-bone/2" in first
    assert hint.startswith("hint: ")
    assert list(elsewhere.iterdir()) == []


def test_files_that_are_gone_on_the_server_are_an_environment_fault(
    workspace: Path, own_server: str, tmp_path: Path
) -> None:
    shutil.rmtree(workspace / "mlartifacts")
    elsewhere = tmp_path / "elsewhere"
    done = best("--tracking-uri", own_server, "--download", "mine", cwd=elsewhere)
    assert (done.returncode, list(elsewhere.iterdir())) == (4, [])
    assert "'manifest.json': HTTP" in done.stderr


def test_a_folder_that_holds_something_else_is_refused_before_anything_is_fetched(
    workspace: Path, own_server: str, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "mine").mkdir(parents=True)
    (elsewhere / "mine" / "thesis.txt").write_text("mine")
    for target, told in (("mine", "not empty"), ("mine/thesis.txt", "not empty"),
                         ("mine/thesis.txt/x", "cannot")):  # fmt: skip
        done = best("--tracking-uri", own_server, "--download", target, cwd=elsewhere)
        assert (done.returncode, told in done.stderr) == (3, True), done.stderr
    assert [path.name for path in (elsewhere / "mine").iterdir()] == ["thesis.txt"]


def test_an_empty_store_says_how_generators_come_there(tmp_path: Path) -> None:
    with running_server(ServerSettings(tmp_path / "server", port=0)) as (url, _):
        done = best("--tracking-uri", url, "--format", "json", cwd=tmp_path / "elsewhere")
        assert (done.returncode, json.loads(done.stdout)) == (0, [])
        assert "next: dexsearch sync --tracking-uri" in done.stderr
        done = best("--tracking-uri", url, "--download", "mine", cwd=tmp_path / "elsewhere")
        assert done.returncode == 4
        assert "no generator of dexsearch is registered at" in done.stderr


def test_a_dead_server_a_missing_file_and_no_address_are_one_line_each(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    for uri, code, told in (
        (f"http://127.0.0.1:{port}", 4, "connection refused"),
        (f"postgresql://me:hush@127.0.0.1:{port}/runs", 4, "connection refused"),
        (f"sqlite:///{tmp_path}/none.db", 3, "no such file"),
        ("ftp://127.0.0.1", 3, "no address of MLflow"),
    ):
        done = best("--tracking-uri", uri, "--download", "mine", cwd=tmp_path / "elsewhere")
        assert (done.returncode, told in done.stderr) == (code, True), done.stderr
        assert len(done.stderr.splitlines()) == 2
        assert "hush" not in done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (tmp_path / "none.db").exists()
