"""MLflow on a server and in PostgreSQL shows what the workspace's own file shows, faults or not.

Real servers, real databases; a proxy before the server makes the faults.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dexsearch.errors import EnvironmentFault
from dexsearch.inference.package import Package
from dexsearch.ledger.study import StudyRecord
from dexsearch.registry.flushing import bring_up
from dexsearch.registry.mirror import sync_study, sync_workspace
from dexsearch.registry.server import ServerSettings, running_server
from dexsearch.registry.store import register
from dexsearch.registry.tracking import tracking_uri

sys.path.insert(0, str(Path(__file__).parent / "support"))
from faulty_proxy import Fault, FaultyProxy, faulty_proxy
from postgresql import postgresql_server
from shown_in_mlflow import client_of, runs_of, shown

MakeStudy = Callable[..., StudyRecord]
MakePackage = Callable[..., Package]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
FAULTS: tuple[Fault, ...] = ("drop", "lose", "hang")


@pytest.fixture
def workspace(tmp_path: Path, make_study: MakeStudy, make_package: MakePackage) -> Path:
    """A finished search with one version registered, and one of a study that is gone."""
    make_study("complete", "pruned", quality={"tumour_error_mm": 1.5})
    register(tmp_path, [make_package(0, 0.31), make_package(7, 0.2, study="lost")])
    return tmp_path


@pytest.fixture
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyProxy]:
    """A proxy before an empty server on another folder."""
    settings = ServerSettings(tmp_path_factory.mktemp("server"), port=0)
    with running_server(settings) as (url, _), faulty_proxy(url) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MLflow's client give up after a second, without trying again."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_a_server_that_fails_at_every_step_shows_the_same_in_the_end(
    workspace: Path, proxy: FaultyProxy, impatient: None
) -> None:
    sync_workspace(workspace)
    wanted = shown(tracking_uri(workspace))
    hints: list[str | None] = []
    for step in range(1, 1000):
        proxy.restart()
        proxy.fault = lambda number, method, path, step=step: (
            FAULTS[step % 3] if number == step else "none"
        )
        try:
            sync_workspace(workspace, uri=proxy.url)
        except EnvironmentFault as error:
            hints.append(error.hint)
        if proxy.n_requests < step:
            break
    proxy.fault = lambda *_: "none"
    assert len(hints) > 12
    assert all("dexsearch sync" in str(hint) for hint in hints)
    assert shown(proxy.url) == wanted
    told: list[str] = []
    sync_workspace(workspace, told.append, proxy.url)
    assert (told, shown(proxy.url)) == ([], wanted)


def test_a_lost_answer_that_is_asked_again_leaves_no_run_twice(
    workspace: Path, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    sync_workspace(workspace)
    lost: set[str] = set()

    def once(number: int, method: str, path: str) -> Fault:
        if path.endswith("/runs/create") and len(lost) < 3 and str(number) not in lost:
            lost.add(str(number))
            return "lose" if number % 2 else "none"
        return "none"

    proxy.fault = once
    sync_workspace(workspace, uri=proxy.url)
    sync_workspace(workspace, uri=proxy.url)
    assert lost
    assert shown(proxy.url) == shown(tracking_uri(workspace))


def test_a_slow_server_shows_the_same(workspace: Path, proxy: FaultyProxy) -> None:
    sync_workspace(workspace)
    proxy.fault = lambda *_: "slow"
    sync_workspace(workspace, uri=proxy.url)
    proxy.fault = lambda *_: "none"
    assert shown(proxy.url) == shown(tracking_uri(workspace))


def test_packages_are_uploaded_once_and_versions_are_served_from_their_runs(
    workspace: Path, proxy: FaultyProxy
) -> None:
    sync_workspace(workspace, uri=proxy.url)
    first = [line for line in proxy.seen if line.startswith("PUT")]
    assert any(line.endswith("generator/weights.safetensors") for line in first)
    proxy.restart()
    sync_workspace(workspace, uri=proxy.url)
    assert [line for line in proxy.seen if not line.startswith("GET")] == [
        "POST /api/2.0/mlflow/runs/search"
    ] * sum("runs/search" in line for line in proxy.seen)
    client = client_of(proxy.url)
    for version in client.search_model_versions("name = 'dexsearch-bone'"):
        run = client.get_run(version.run_id)
        assert version.source.startswith(f"{run.info.artifact_uri}/generator")


def test_a_moved_workspace_needs_nothing_from_a_server(
    workspace: Path, proxy: FaultyProxy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sync_workspace(workspace, uri=proxy.url)
    before = shown(proxy.url)
    moved = tmp_path_factory.mktemp("moved") / "workspace"
    workspace.rename(moved)
    sync_workspace(moved, uri=proxy.url)
    assert shown(proxy.url) == before
    moved.rename(workspace)


def test_runs_a_version_and_an_alias_changed_by_hand_are_told_and_put_right(
    workspace: Path, proxy: FaultyProxy
) -> None:
    sync_workspace(workspace, uri=proxy.url)
    client = client_of(proxy.url)
    before = shown(proxy.url)
    (trial,) = [run for run in runs_of(proxy.url) if run.info.run_name == "ribs-0001"]
    client.delete_run(trial.info.run_id)
    client.set_registered_model_alias("dexsearch-bone", "champion", "2")
    told: list[str] = []
    sync_workspace(workspace, told.append, proxy.url)
    assert told == [
        "the run of ribs/1 was deleted in MLflow by hand; it is restored",
        "dexsearch-bone@champion was moved to version 2 in MLflow by hand, from version 1; "
        "it is put right",
    ]
    assert shown(proxy.url) == before
    told.clear()
    client.delete_model_version("dexsearch-bone", "1")
    sync_workspace(workspace, told.append, proxy.url)
    assert told[0].startswith("dexsearch-bone/1 is version 3 in MLflow")
    champion = client.get_model_version_by_alias("dexsearch-bone", "champion")
    assert champion.tags["dexsearch.label"] == "dexsearch-bone/1"


def test_an_experiment_deleted_by_hand_comes_back_with_its_runs(
    workspace: Path, proxy: FaultyProxy
) -> None:
    sync_workspace(workspace, uri=proxy.url)
    before = shown(proxy.url)
    client = client_of(proxy.url)
    client.delete_experiment(client.get_experiment_by_name("dexsearch").experiment_id)
    told: list[str] = []
    sync_workspace(workspace, told.append, proxy.url)
    assert told[0].startswith("the experiment 'dexsearch' was deleted in MLflow by hand")
    assert shown(proxy.url) == before


def test_two_workspaces_with_generators_of_one_name_do_not_share_a_server(
    workspace: Path, proxy: FaultyProxy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sync_workspace(workspace, uri=proxy.url)
    other = tmp_path_factory.mktemp("other")
    log = (workspace / "registry.jsonl").read_text()
    another = log.replace('"weights_sha256":"', '"weights_sha256":"f')
    (other / "registry.jsonl").write_text(another)
    with pytest.raises(EnvironmentFault, match="disagree about dexsearch-bone/1") as caught:
        sync_workspace(other, uri=proxy.url)
    assert "of its own" in str(caught.value.hint)


def test_a_server_killed_in_the_middle_of_a_search_shows_the_same_once_it_is_back(
    tmp_path: Path,
    make_study: MakeStudy,
    make_package: MakePackage,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("server")
    study = make_study("running", "running", epochs=2)
    with running_server(ServerSettings(folder, port=0)) as (url, server):
        sync_study(study.folder, tmp_path, url)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        make_study("complete", "complete", "failed")
        register(tmp_path, [make_package(0, 0.31)])
        with pytest.raises(EnvironmentFault, match="connection refused"):
            bring_up(tmp_path, url, tell=pytest.fail)
    with running_server(ServerSettings(folder, port=0)) as (url, _):
        for _ in range(2):
            done = bring_up(tmp_path, url, tell=pytest.fail)
            assert (done.studies, done.trials, done.versions) == (1, 3, 1)
        sync_workspace(tmp_path)
        assert shown(url) == shown(tracking_uri(tmp_path))


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql_server() as uri:
        yield uri


def test_postgresql_shows_what_sqlite_shows(
    tmp_path: Path, database: str, make_study: MakeStudy, make_package: MakePackage
) -> None:
    """Halfway first, as the flusher would; then the whole; then again."""
    study = make_study("running", epochs=2)
    sync_study(study.folder, tmp_path, database)
    make_study("complete", "failed")
    register(tmp_path, [make_package(0, 0.31)])
    sync_workspace(tmp_path)
    for _ in range(2):
        sync_workspace(tmp_path, uri=database)
        assert shown(database) == shown(tracking_uri(tmp_path))


def test_postgresql_takes_text_that_it_cannot_store(
    tmp_path: Path, database: str, make_study: MakeStudy
) -> None:
    study = make_study("failed", name="odd")
    ledger = study.folder / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace("out of memory", "a\\u0000b\\ud800c"))
    sync_workspace(tmp_path, uri=database)
    (run,) = [run for run in runs_of(database) if run.info.run_name == "odd-0000"]
    assert run.data.tags["dexsearch.reason"] == "ab?c"


def test_a_workspace_is_shown_by_its_own_server_and_by_its_own_file_alike(
    tmp_path: Path, make_study: MakeStudy, make_package: MakePackage
) -> None:
    """A server made the runs, the file goes on, the server goes on."""
    make_study("running", "running", epochs=2)
    with running_server(ServerSettings(tmp_path, port=0)) as (url, _):
        sync_workspace(tmp_path, uri=url)
    make_study("complete", "complete")
    register(tmp_path, [make_package(0, 0.31, epochs=2), make_package(1, 0.31)])
    sync_workspace(tmp_path)
    with running_server(ServerSettings(tmp_path, port=0)) as (url, _):
        after_file = shown(url)
        sync_workspace(tmp_path, uri=url)
        assert shown(url) == after_file
    assert "weights.safetensors" in after_file["runs"]["ribs-0001"]["files"]
