"""`gc` after a real search and beside one: every other command works as before."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dexsearch.jobs.gc import collect_garbage
from dexsearch.ledger.study import LEDGER_NAME, read_study
from dexsearch.registry.record import read_registry
from dexsearch.registry.store import open_registered

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

SPACE = """\
task: bone
data:
  phantom: {subjects: 6, poses: 3, size_px: 32, seed: 1}
trials: TRIALS
epochs: 3
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
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_works_after_gc_as_before(tmp_path: Path) -> None:
    space = tmp_path / "small.yaml"
    space.write_text(SPACE.replace("TRIALS", "4"))
    workspace = tmp_path / "workspace"
    dexsearch(tmp_path, "tune", "--space", "small.yaml")
    best = dexsearch(tmp_path, "best", "--format", "json")
    status = json.loads(dexsearch(tmp_path, "status", "--format", "json"))
    log = (workspace / "registry.jsonl").read_bytes()
    told = json.loads(dexsearch(tmp_path, "gc", "--keep", "0", "--dry-run", "--format", "json"))
    freed = json.loads(dexsearch(tmp_path, "gc", "--keep", "0", "--format", "json"))
    assert freed["bytes"] == told["bytes"] > 0
    assert freed["passed_over"] == []
    assert list((workspace / "studies" / "small" / "trials").iterdir()) == []

    dexsearch(tmp_path, "tune", "--space", "small.yaml")
    assert (workspace / "registry.jsonl").read_bytes() == log
    assert dexsearch(tmp_path, "best", "--format", "json") == best
    assert json.loads(dexsearch(tmp_path, "status", "--format", "json")) == status
    np.save(tmp_path / "in.npy", np.ones((32, 32), np.float32))
    dexsearch(tmp_path, "predict", "dexsearch-bone", "in.npy", "out")
    dexsearch(tmp_path, "report", "small", "--out", "report.html")
    dexsearch(tmp_path, "doctor", "--quick")

    space.write_text(SPACE.replace("TRIALS", "6"))
    dexsearch(tmp_path, "tune", "--space", "small.yaml")
    assert len(read_study(workspace / "studies" / "small").in_state("complete")) == 6
    for version in read_registry(workspace).versions:
        open_registered(workspace, f"{version.name}/{version.version}")


def test_gc_beside_a_running_search_takes_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SPACE.replace("TRIALS", "6"))
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    ledger = workspace / "studies" / "small" / LEDGER_NAME
    passed_over = 0
    with subprocess.Popen(
        command("tune", "--space", "small.yaml"),
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as search:  # fmt: skip
        while search.poll() is None:
            found = collect_garbage(
                workspace, keep=0, dry_run=False, progress=lambda done, total: None
            )
            passed_over += len(found.passed_over)
            time.sleep(0.05)  # leaves the search a core
        assert search.stderr is not None
        assert search.returncode == 0, search.stderr.read()
    assert passed_over > 0
    study = read_study(ledger.parent)
    assert len(study.in_state("complete")) == 6
    registry = read_registry(workspace)
    assert [v.trial for v in registry.versions] == [t.number for t in study.ranking()[:2]]
    for version in registry.versions:
        open_registered(workspace, f"{version.name}/{version.version}")
