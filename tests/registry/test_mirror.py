"""What MLflow shows after the ledgers were projected on it."""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dexsearch.errors import EnvironmentFault
from dexsearch.inference.package import Package
from dexsearch.ledger.study import StudyRecord
from dexsearch.registry.mirror import sync_workspace
from dexsearch.registry.store import keep_audit, register
from dexsearch.registry.tracking import open_tracking, tracking_uri

MakeStudy = Callable[..., StudyRecord]
MakePackage = Callable[..., Package]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


SHOW_RUNS = (
    "import sys; from mlflow import MlflowClient; client = MlflowClient(sys.argv[1])\n"
    "[found] = client.search_experiments(filter_string=\"name = 'dexsearch'\")\n"
    "print(*sorted(run.info.run_name for run in client.search_runs([found.experiment_id])))"
)


def client(workspace: Path) -> Any:  # noqa: ANN401
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri(workspace), registry_uri=tracking_uri(workspace))


def sync_in_its_own_process(workspace: Path) -> tuple[str, str]:
    """Sync as the next command would, and return what it printed."""
    script = (
        "import sys; from pathlib import Path; from dexsearch.registry.mirror import "
        "sync_workspace; assert 'mlflow' not in sys.modules; sync_workspace(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", script, str(workspace)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return done.stdout, done.stderr


def runs(workspace: Path) -> dict[str, Any]:
    """All runs by name."""
    found = client(workspace)
    experiment = found.get_experiment_by_name("dexsearch")
    return {run.info.run_name: run for run in found.search_runs([experiment.experiment_id])}


def shown(workspace: Path) -> dict[str, Any]:
    """Everything that a person sees of the runs, without their random names."""
    return {
        name: (
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            run.data.metrics,
            run.data.params,
            {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"},
            {
                key: [(m.step, m.value, m.timestamp) for m in
                      client(workspace).get_metric_history(run.info.run_id, key)]
                for key in run.data.metrics
            },
            [item.dataset.digest for item in run.inputs.dataset_inputs],
        )
        for name, run in runs(workspace).items()
    }  # fmt: skip


def test_trials_become_child_runs_with_their_states(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study("complete", "pruned", "failed", "running")
    sync_workspace(tmp_path)
    found = runs(tmp_path)
    states = {name: run.info.status for name, run in found.items()}
    assert states == {
        "ribs": "RUNNING",
        "ribs-0000": "FINISHED",
        "ribs-0001": "KILLED",
        "ribs-0002": "FAILED",
        "ribs-0003": "RUNNING",
    }
    parent = found["ribs"].info.run_id
    tags = {name: run.data.tags for name, run in found.items()}
    assert all(tags[n]["mlflow.parentRunId"] == parent for n in tags if n != "ribs")
    assert tags["ribs-0001"]["dexsearch.state"] == "PRUNED"
    assert tags["ribs-0000"]["dexsearch.immune"] == "true"
    assert tags["ribs-0000"]["dexsearch.would_prune_at"] == "2"
    assert tags["ribs-0002"]["dexsearch.reason"] == "out of memory"
    assert tags["ribs-0002"]["dexsearch.trial_key"] == "ribs/2"
    assert found["ribs-0000"].data.params["generator.depth"] == "3"
    assert found["ribs-0000"].data.metrics["val_ssim"] == pytest.approx(0.3)
    (item,) = found["ribs-0000"].inputs.dataset_inputs
    assert item.dataset.digest == "d" * 36


def test_syncing_again_changes_nothing(
    tmp_path: Path, make_study: MakeStudy, make_package: MakePackage
) -> None:
    make_study("complete", "pruned")
    register(tmp_path, [make_package(0, 0.8)])
    sync_workspace(tmp_path)
    before = shown(tmp_path)
    sync_workspace(tmp_path)
    assert shown(tmp_path) == before
    assert len(before["ribs-0000"][6]["val_ssim"]) == 3


def test_news_are_added_to_the_same_runs(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study("running", epochs=2)
    sync_workspace(tmp_path)
    first = runs(tmp_path)
    make_study("complete", "complete", epochs=3)  # repeated events count once
    sync_workspace(tmp_path)
    again = runs(tmp_path)
    assert sorted(again) == ["ribs", "ribs-0000", "ribs-0001"]
    assert again["ribs-0000"].info.run_id == first["ribs-0000"].info.run_id
    assert {run.info.status for run in again.values()} == {"FINISHED"}
    history = client(tmp_path).get_metric_history(again["ribs-0000"].info.run_id, "val_ssim")
    assert [point.step for point in history] == [1, 2, 3]


def test_image_quality_stands_beside_the_scores_of_the_final_epoch(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study("complete", quality={"bone_suppression": 0.75, "tumour_error_mm": 1.5})
    sync_workspace(tmp_path)
    run = runs(tmp_path)["ribs-0000"]
    assert {k: v for k, v in run.data.metrics.items() if k.startswith("quality")} == {
        "quality_bone_suppression": 0.75,
        "quality_tumour_error_mm": 1.5,
    }
    history = client(tmp_path).get_metric_history(run.info.run_id, "quality_bone_suppression")
    assert [point.step for point in history] == [3]
    before = shown(tmp_path)
    sync_workspace(tmp_path)
    assert shown(tmp_path) == before


def test_a_deleted_database_comes_back(
    tmp_path: Path, make_study: MakeStudy, make_package: MakePackage
) -> None:
    make_study("complete", "pruned")
    register(tmp_path, [make_package(0, 0.8), make_package(7, 0.6, study="lost")])
    assert sync_in_its_own_process(tmp_path) == ("", "")
    before = shown(tmp_path)
    (tmp_path / "mlflow.db").unlink()
    assert sync_in_its_own_process(tmp_path) == ("", "")
    copy = tmp_path / "copy"  # this process keeps the deleted file open under its old name
    copy.mkdir()
    shutil.copyfile(tmp_path / "mlflow.db", copy / "mlflow.db")
    assert shown(copy) == before
    assert client(copy).get_model_version("dexsearch-bone", "2").status == "READY"


AUDIT = {
    "pruner": "median", "n_pruned": 3, "enough": False, "false_prune_rate": None,
    "false_prune_rate_high": 0.37,
    "correlations": [{"epoch": 4, "n": 12, "value": 0.8, "low": 0.5, "high": None}],
}  # fmt: skip


def test_the_audit_of_pruning_is_on_the_study_run_and_comes_back(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    study = make_study("complete", "pruned", "running")
    keep_audit(tmp_path, study, {**AUDIT, "n_pruned": 1}, "one")
    sync_workspace(tmp_path)
    keep_audit(tmp_path, study, AUDIT, "three pruned")
    assert sync_in_its_own_process(tmp_path) == ("", "")
    run = runs(tmp_path)["ribs"]
    assert run.data.tags["dexsearch.audit"] == "three pruned"
    assert {k: v for k, v in run.data.metrics.items() if k.startswith("audit.")} == {
        "audit.n_pruned": 3,
        "audit.false_prune_rate_high": 0.37,
        "audit.correlation_epoch_4": 0.8,
        "audit.correlation_epoch_4_n": 12,
        "audit.correlation_epoch_4_low": 0.5,
    }
    history = client(tmp_path).get_metric_history(run.info.run_id, "audit.n_pruned")
    assert [(point.step, point.value) for point in history] == [(2, 1), (2, 3)]
    before = shown(tmp_path)
    (tmp_path / "mlflow.db").unlink()
    assert sync_in_its_own_process(tmp_path) == ("", "")
    (tmp_path / "copy").mkdir()
    shutil.copyfile(tmp_path / "mlflow.db", tmp_path / "copy" / "mlflow.db")
    assert shown(tmp_path / "copy") == before


def test_versions_aliases_and_pictures_are_in_mlflow(
    tmp_path: Path, make_study: MakeStudy, make_package: MakePackage
) -> None:
    make_study("complete", "complete")
    package = make_package(1, 0.31)
    register(tmp_path, [package, make_package(0, 0.7)])
    sync_workspace(tmp_path)
    found = client(tmp_path)
    version = found.get_model_version_by_alias("dexsearch-bone", "champion")
    assert version.version == "1" or version.version == 1
    assert version.source == package.path.as_uri()
    assert version.run_id == runs(tmp_path)["ribs-0001"].info.run_id
    assert version.tags["dexsearch.sha256"] == package.sha256
    pictures = found.list_artifacts(version.run_id, "generator/pictures")
    assert [item.path for item in pictures] == ["generator/pictures/1-subject.png"]
    assert "weights.safetensors" in [
        Path(item.path).name for item in found.list_artifacts(version.run_id, "generator")
    ]


def test_an_alias_moved_by_hand_follows_the_registry_again(
    tmp_path: Path, make_study: MakeStudy, make_package: MakePackage
) -> None:
    make_study("complete", "complete")
    register(tmp_path, [make_package(1, 0.8), make_package(0, 0.7)])
    sync_workspace(tmp_path)
    found = client(tmp_path)
    found.set_registered_model_alias("dexsearch-bone", "champion", "2")
    found.set_registered_model_alias("dexsearch-bone", "favourite", "2")
    sync_workspace(tmp_path)
    aliases = found.get_registered_model("dexsearch-bone").aliases
    assert {name: int(number) for name, number in aliases.items()} == {
        "champion": 1,
        "favourite": 2,
    }


def test_a_version_registered_by_hand_shifts_ours_and_is_told(
    tmp_path: Path, make_study: MakeStudy, make_package: MakePackage
) -> None:
    make_study("complete")
    register(tmp_path, [make_package(0, 0.8)])
    sync_workspace(tmp_path)
    client(tmp_path).create_model_version("dexsearch-bone", "file:///elsewhere")
    register(tmp_path, [make_package(1, 0.7)])
    told: list[str] = []
    sync_workspace(tmp_path, told.append)
    assert [line.split(",")[0] for line in told] == ["dexsearch-bone/2 is version 3 in MLflow"]
    third = client(tmp_path).get_model_version("dexsearch-bone", "3")
    assert third.tags["dexsearch.label"] == "dexsearch-bone/2"
    sync_workspace(tmp_path, told.append)
    assert len(told) == 1
    assert len(client(tmp_path).search_model_versions("name = 'dexsearch-bone'")) == 3


def test_a_damaged_database_is_told_at_once(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study("complete")
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(EnvironmentFault, match=r"mlflow.db"):
        sync_workspace(tmp_path)


def test_a_study_that_begins_just_now_is_passed_over(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study("complete")
    (tmp_path / "studies" / "new").mkdir()
    (tmp_path / "studies" / "new" / "ledger.jsonl").write_text("")
    sync_workspace(tmp_path)
    assert sorted(runs(tmp_path)) == ["ribs", "ribs-0000"]


def test_a_database_deleted_while_it_is_open_is_told(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study("complete")
    sync_workspace(tmp_path)
    with pytest.raises(EnvironmentFault, match="deleted while"), open_tracking(tmp_path):
        (tmp_path / "mlflow.db").unlink()


def test_a_database_deleted_since_it_was_open_is_made_anew_by_the_same_process(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study("complete")
    sync_workspace(tmp_path)
    (tmp_path / "mlflow.db").unlink()
    sync_workspace(tmp_path)
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHOW_RUNS, tracking_uri(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.split() == ["ribs", "ribs-0000"]


def begin_anew(workspace: Path) -> None:
    shutil.rmtree(workspace / "studies" / "ribs")
    time.sleep(0.01)


def test_a_study_begun_anew_under_its_name_gets_its_own_runs(
    tmp_path: Path, make_study: MakeStudy, make_package: MakePackage
) -> None:
    make_study("complete", "running", epochs=2)
    register(tmp_path, [make_package(0, 0.2, epochs=2)])
    sync_workspace(tmp_path)
    old = runs(tmp_path)
    begin_anew(tmp_path)
    make_study("complete", epochs=3)
    register(tmp_path, [make_package(0, 0.3)])
    sync_workspace(tmp_path)
    found = client(tmp_path)
    parent = found.get_run(old["ribs"].info.run_id)
    child = found.get_run(old["ribs-0000"].info.run_id)
    assert parent.info.status == "KILLED"
    assert child.data.metrics == old["ribs-0000"].data.metrics
    experiment = found.get_experiment_by_name("dexsearch").experiment_id
    names = [run.info.run_name for run in found.search_runs([experiment])]
    assert sorted(names) == ["ribs", "ribs", "ribs-0000", "ribs-0000", "ribs-0001"]
    first, second = (found.get_model_version("dexsearch-bone", n).run_id for n in ("1", "2"))
    assert first == child.info.run_id
    assert found.get_run(second).data.metrics["val_ssim"] == pytest.approx(0.3)
    before = shown(tmp_path)
    sync_workspace(tmp_path)
    assert shown(tmp_path) == before


def test_the_ledgers_are_read_once_the_database_is_free(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study("running")
    waiting = threading.Thread(target=sync_workspace, args=(tmp_path,))
    with (tmp_path / "mlflow.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        make_study("complete")
    waiting.join()
    assert runs(tmp_path)["ribs-0000"].info.status == "FINISHED"


def test_a_damaged_ledger_of_another_study_is_told_and_passed_over(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study("complete")
    make_study("complete", name="old")
    ledger = tmp_path / "studies" / "old" / "ledger.jsonl"
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[::2]))
    told: list[str] = []
    sync_workspace(tmp_path, told.append)
    assert [line.split(":")[0] for line in told] == ["study 'old' is passed over"]
    assert sorted(runs(tmp_path)) == ["ribs", "ribs-0000"]


def test_artifacts_that_cannot_be_written_are_an_environment_fault(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study("complete")
    (tmp_path / "mlflow.db.lock").mkdir()
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        sync_workspace(tmp_path)


def test_a_copied_workspace_keeps_its_files_to_itself(
    tmp_path: Path, make_study: MakeStudy, make_package: MakePackage
) -> None:
    old = tmp_path / "mlartifacts"
    make_study("complete")
    register(tmp_path, [make_package(0, 0.3)])
    sync_workspace(tmp_path)
    copy = tmp_path.with_name(f"{tmp_path.name}-copy")
    shutil.copytree(tmp_path, copy)
    shutil.rmtree(old)
    run_id = runs(copy)["ribs-0000"].info.run_id
    shutil.rmtree(copy / "mlartifacts" / run_id)
    sync_workspace(copy)
    assert not old.exists()
    found = client(copy)
    assert len(found.list_artifacts(run_id, "generator/pictures")) == 1
    version = found.get_model_version("dexsearch-bone", "1")
    assert version.source.startswith(copy.as_uri() + "/mlartifacts/generators/")
    assert found.get_model_version_download_uri("dexsearch-bone", "1") == version.source
    assert runs(copy)["ribs"].info.artifact_uri.startswith(copy.as_uri() + "/")


def test_a_package_written_anew_elsewhere_is_followed(
    tmp_path: Path, make_study: MakeStudy, make_package: MakePackage
) -> None:
    make_study("complete")
    first = make_package(0, 0.3)
    register(tmp_path, [first])
    sync_workspace(tmp_path)
    shutil.rmtree(first.path)
    second = make_package(0, 0.3, units={"bone": "cm"})
    register(tmp_path, [second])
    sync_workspace(tmp_path)
    version = client(tmp_path).get_model_version("dexsearch-bone", "1")
    assert second.path != first.path
    assert version.source == second.path.as_uri()
    assert version.tags["dexsearch.sha256"] == second.sha256
