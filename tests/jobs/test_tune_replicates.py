"""`tune --replicates` and `reproduce` through the command line, on a real Ray and MLflow."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import read_study
from dexsearch.registry.record import read_registry

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

SPACE = """\
task: joint
objective: val_ssim_bone
data:
  phantom: {subjects: 6, poses: 3, size_px: 32, seed: 1}
trials: 4
epochs: 5
register: 2
pruner: {kind: none}
sampler: {kind: random, seed: 3}
search:
  task: {choice: [bone, joint]}
  generator.depth: {int: [1, 3]}
fixed: {generator.width: 4, discriminator.patch_px: 16, discriminator.width: 4, batch_size: 4}
"""
DEXSEARCH = [sys.executable, "-m", "dexsearch"]
TUNE = ["tune", "--space", "small.yaml", "--replicates", "2", "--format", "json"]


def environment() -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "120"}


def dexsearch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEXSEARCH, *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DEXSEARCH, *arguments],
        cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a search ended, and the search of its replicates was killed."""
    folder = tmp_path_factory.mktemp("replicates")
    (folder / "small.yaml").write_text(SPACE)
    ledger = folder / "workspace" / "studies" / "small.replicates" / "ledger.jsonl"
    with (folder / "told.txt").open("w") as told:
        search = subprocess.Popen(
            [*DEXSEARCH, *TUNE], cwd=folder, env=environment(), stdout=told, stderr=told
        )
    deadline = time.monotonic() + 240
    while sum(event["event"] == "epoch" for event in read_events(ledger)) < 3:
        assert time.monotonic() < deadline, "the replicates do not begin"
        assert search.poll() is None, (folder / "told.txt").read_text()
        time.sleep(0.02)
    search.kill()
    search.wait()
    return folder


@pytest.fixture(scope="module")
def finished(killed: Path) -> tuple[Path, dict[str, object]]:
    """The same folder after the same command, and what that printed."""
    ended = dexsearch(killed, *TUNE)
    assert ended.returncode == 0, ended.stderr
    return killed, json.loads(ended.stdout)


def test_killed_replicates_go_on_with_every_trial_and_epoch_once(
    finished: tuple[Path, dict[str, object]],
) -> None:
    folder = finished[0] / "workspace" / "studies" / "small.replicates"
    again = read_study(folder)
    assert Counter(trial.state for trial in again.trials) == {"complete": 4}
    epochs = Counter(
        (event["trial"], event["record"]["epoch"])
        for event in read_events(folder / "ledger.jsonl")
        if event["event"] == "epoch"
    )
    assert set(epochs.values()) == {1}
    assert {trial.last_epoch for trial in again.trials} == {5}


def test_the_result_the_registry_and_mlflow_tell_the_same(
    finished: tuple[Path, dict[str, object]],
) -> None:
    folder, shown = finished
    told = {one["trial"]: one for one in shown["replicates"]["configurations"]}  # type: ignore[index]
    registry = read_registry(folder / "workspace")
    assert {(e.trial, tuple(e.values)) for e in registry.replicated} == {
        (number, tuple(one["values"])) for number, one in told.items()
    }
    assert {version.study for version in registry.versions} == {"small"}
    script = (
        "import json, mlflow; c = mlflow.MlflowClient('sqlite:///workspace/mlflow.db');"
        "r = c.search_runs([x.experiment_id for x in c.search_experiments()], max_results=99);"
        "print(json.dumps(sorted(x.data.tags.get('dexsearch.trial_key', '') for x in r)))"
    )
    runs = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=120,
        env={**environment(), "MLFLOW_DISABLE_TELEMETRY": "true"}, check=True,
    )  # fmt: skip
    keys = set(json.loads(runs.stdout.splitlines()[-1]))
    assert {f"small.replicates/{number}" for number in range(4)} <= keys
    assert {f"small/{number}" for number in range(4)} <= keys


def test_status_and_report_mean_the_search_and_not_its_replicates(
    finished: tuple[Path, dict[str, object]],
) -> None:
    folder, _ = finished
    status = json.loads(dexsearch(folder, "status", "--format", "json").stdout)
    assert (status["study"], status["replicates"]["study"]) == ("small", "small.replicates")
    assert dexsearch(folder, "report").returncode == 0
    assert (folder / "small-report.html").exists()


def test_a_registered_trial_of_ray_is_reproduced_bit_for_bit_also_after_ctrl_c(
    finished: tuple[Path, dict[str, object]],
) -> None:
    folder, _ = finished
    version = read_registry(folder / "workspace").versions[0]
    command = ["reproduce", f"{version.name}/{version.version}", "--format", "json"]
    run = started(folder, *command)
    assert run.stderr is not None
    for line in run.stderr:
        if line.startswith("epoch 1/5"):
            break
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=120)
    assert run.returncode in (0, 130), told  # a run so short may have ended before the signal
    assert "Traceback" not in told
    ended = dexsearch(folder, *command)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["verdict"] == "identical"
    assert dexsearch(folder, "reproduce", "dexsearch-none/1").returncode == 4
