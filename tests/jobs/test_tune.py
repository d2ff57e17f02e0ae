"""The main job through the command line, on a real Ray, Optuna study and MLflow database."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import StudyRecord, read_study

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

SPACE = """\
task: joint
data:
  phantom: {subjects: 6, poses: 3, size_px: 32, seed: 1}
trials: 6
epochs: 4
register: 2
pruner: {kind: successive_halving, min_epochs: 1, reduction: 2, immune_every: 3}
search:
  generator.depth: {int: [1, 3]}
  optimizer.learning_rate: {float: [1e-4, 1e-2], log: true}
fixed: {generator.width: 4, discriminator.patch_px: 16, discriminator.width: 4, batch_size: 4}
"""
TUNE = [sys.executable, "-m", "dexsearch", "tune", "--space", "small.yaml"]


def environment() -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "120"}


def dexsearch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dexsearch", *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def study(folder: Path) -> StudyRecord:
    return read_study(folder / "workspace" / "studies" / "small")


def states(folder: Path) -> dict[str, int]:
    return dict(Counter(trial.state for trial in study(folder).trials))


def assert_nothing_missing_or_twice(folder: Path) -> None:
    ledger = folder / "workspace" / "studies" / "small" / "ledger.jsonl"
    epochs = Counter(
        (event["trial"], event["record"]["epoch"])
        for event in read_events(ledger)
        if event["event"] == "epoch"
    )
    assert set(epochs.values()) == {1}
    for trial in study(folder).trials:
        assert sorted(trial.epochs) == list(range(1, trial.last_epoch + 1))


def optuna_states(folder: Path) -> dict[int, str]:
    database = folder / "workspace" / "studies" / "small" / "study.db"
    loaded = optuna.load_study(study_name="small", storage=f"sqlite:///{database}")
    return {trial.number: trial.state.name for trial in loaded.trials}


def mlflow_states(folder: Path) -> dict[str, Any]:
    """Read the runs and versions as MLflow shows them, in a process of its own."""
    script = (
        "import json, mlflow; c = mlflow.MlflowClient('sqlite:///workspace/mlflow.db');"
        "e = [x.experiment_id for x in c.search_experiments()];"
        "r = c.search_runs(e); k = 'dexsearch.trial_key';"
        "print(json.dumps({'runs': {x.data.tags[k]: x.info.status for x in r if k in"
        " x.data.tags}, 'champion': c.get_model_version_by_alias('dexsearch-joint',"
        " 'champion').version}))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder, env={**environment(), "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return json.loads(shown.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a search was killed in its middle and run again to its end."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "small.yaml").write_text(SPACE)
    ledger = folder / "workspace" / "studies" / "small" / "ledger.jsonl"
    first = subprocess.Popen(
        TUNE, cwd=folder, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while sum(event["event"] == "epoch" for event in read_events(ledger)) < 6:
        assert time.monotonic() < deadline, "the search does not begin"
        assert first.poll() is None, "the search ended before it could be killed"
        time.sleep(0.05)
    first.kill()
    first.wait()
    ended = dexsearch(folder, *TUNE[3:])
    assert ended.returncode == 0, ended.stderr
    return folder


def test_a_killed_search_has_every_trial_and_epoch_once(finished: Path) -> None:
    assert sum(states(finished).values()) == 6
    assert states(finished).get("running", 0) == 0
    assert states(finished)["complete"] >= 1
    assert any(trial.immune for trial in study(finished).trials)
    assert_nothing_missing_or_twice(finished)


def test_ledger_study_and_mlflow_tell_the_same(finished: Path) -> None:
    told = {trial.number: trial.state for trial in study(finished).trials}
    optuna_names = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    assert optuna_states(finished) == {n: optuna_names[state] for n, state in told.items()}
    mlflow_names = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
    assert mlflow_states(finished)["runs"] == {
        f"small/{n}": mlflow_names[state] for n, state in told.items()
    }


def test_best_and_status_agree_with_the_ledger(finished: Path) -> None:
    rows = json.loads(dexsearch(finished, "best", "--format", "json").stdout)
    winner = study(finished).ranking()[0]
    assert (rows[0]["trial"], rows[0]["aliases"]) == (winner.number, ["champion"])
    assert rows[0]["val_ssim"] == winner.value_at(4, "val_ssim")
    status = json.loads(dexsearch(finished, "status", "--format", "json").stdout)
    assert {k: v for k, v in status["trials"].items() if v} == states(finished)


def test_deleted_databases_come_back_as_they_were(finished: Path) -> None:
    before = (optuna_states(finished), mlflow_states(finished))
    registry = (finished / "workspace" / "registry.jsonl").read_bytes()
    (finished / "workspace" / "studies" / "small" / "study.db").unlink()
    (finished / "workspace" / "mlflow.db").unlink()
    assert dexsearch(finished, *TUNE[3:]).returncode == 0
    assert (optuna_states(finished), mlflow_states(finished)) == before
    assert (finished / "workspace" / "registry.jsonl").read_bytes() == registry


def test_a_changed_space_is_refused_with_the_difference(finished: Path) -> None:
    refused = dexsearch(finished, *TUNE[3:], "--epochs", "3")
    assert refused.returncode == 3
    assert "epochs 4 -> 3" in refused.stderr
    assert "--study NEW-NAME" in refused.stderr


def test_one_ctrl_c_keeps_everything_and_the_same_command_continues(finished: Path) -> None:
    ledger = finished / "workspace" / "studies" / "small" / "ledger.jsonl"
    n_before = len(read_events(ledger))
    more = [*TUNE, "--trials", "9"]
    search = subprocess.Popen(
        more, cwd=finished, env=environment(), stderr=subprocess.PIPE, text=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not any(e["event"] == "epoch" for e in read_events(ledger)[n_before:]):
        assert time.monotonic() < deadline, "the search does not continue"
        time.sleep(0.05)
    search.send_signal(signal.SIGINT)
    _, told = search.communicate(timeout=120)
    assert search.returncode == 130, told
    assert "the same command continues" in told
    assert "Traceback" not in told
    assert dexsearch(finished, *more[3:]).returncode == 0
    assert sum(states(finished).values()) == 9
    assert_nothing_missing_or_twice(finished)
