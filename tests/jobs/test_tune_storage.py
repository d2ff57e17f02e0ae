"""A real search whose checkpoints lie in a bucket: killed, continued, registered from there."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dexsearch.data.store import open_dataset
from dexsearch.jobs.gc import collect_garbage
from dexsearch.jobs.register import register_study
from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import LEDGER_NAME, read_study
from dexsearch.registry.record import read_registry
from dexsearch.registry.store import open_registered
from dexsearch.training.checkpoint import open_checkpoint
from tests.s3_server import KEYS, S3Server

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

SPACE = """\
task: bone
data:
  phantom: {subjects: 6, poses: 3, size_px: 32, seed: 1}
trials: 3
epochs: 2
register: 2
pruner: {kind: none}
search:
  generator.depth: {int: [1, 3]}
  optimizer.learning_rate: {float: [1e-4, 1e-2], log: true}
fixed: {generator.width: 4, discriminator.patch_px: 16, discriminator.width: 4, batch_size: 4}
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dexsearch", *arguments]


def dexsearch(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        command(*arguments),
        cwd=folder, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True,
        timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
    return done.stdout


def kill_once_a_trial_is_complete(folder: Path, ledger: Path, *arguments: str) -> None:
    with subprocess.Popen(
        command(*arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as search:  # fmt: skip
        while search.poll() is None and not (
            ledger.is_file() and '"trial_ended"' in ledger.read_text()
        ):
            time.sleep(0.02)
        os.killpg(search.pid, signal.SIGKILL)


def test_a_search_with_its_checkpoints_in_a_bucket_is_continued_and_registered(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    s3.bucket("searches")
    storage = s3.uri("searches/lab")
    (tmp_path / "small.yaml").write_text(SPACE)
    workspace = tmp_path / "workspace"
    study = workspace / "studies" / "small"
    tune = ("tune", "--space", "small.yaml", "--storage", storage)
    kill_once_a_trial_is_complete(tmp_path, study / LEDGER_NAME, *tune)
    assert len(read_study(study).in_state("complete")) < 3
    dexsearch(tmp_path, *tune)

    record = read_study(study)
    assert [trial.state for trial in record.trials] == ["complete"] * 3
    events = read_events(study / LEDGER_NAME)
    epochs = [(e["trial"], e["record"]["epoch"]) for e in events if e["event"] == "epoch"]
    assert sorted(epochs) == [(trial, epoch) for trial in range(3) for epoch in (1, 2)]
    for trial in record.trials:
        place = s3.uri(f"searches/lab/small/trials/{trial.number}/00002")
        assert record.checkpoint_location(trial) == trial.checkpoint == place
        assert open_checkpoint(place).state.epoch == 2
    assert not (study / "trials").exists()
    registry = read_registry(workspace)
    assert [v.trial for v in registry.versions] == [t.number for t in record.ranking()[:2]]

    found = collect_garbage(workspace, keep=0, dry_run=False, progress=lambda *_: None)
    assert s3.uri("searches/lab/small") in found.passed_over[0]
    shutil.rmtree(registry.path_of(registry.versions[0]))
    dataset = open_dataset(next((workspace / "datasets").iterdir()))
    register_study(workspace, record, dataset, n=2, tell=lambda line: None)
    for version in read_registry(workspace).versions:
        open_registered(workspace, f"{version.name}/{version.version}")


def test_a_bucket_that_is_missing_costs_nothing_but_a_line(tmp_path: Path, s3: S3Server) -> None:
    (tmp_path / "small.yaml").write_text(SPACE)
    storage = s3.uri("nobodys/lab")
    done = subprocess.run(
        command("tune", "--space", "small.yaml", "--storage", storage),
        cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert "there is no bucket 'nobodys'" in done.stderr
    assert "hint: make the bucket first" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]
