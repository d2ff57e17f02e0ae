"""The rehearsal of a large search: real Ray nodes joined by address, recorded curves."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from searching import check_study, ray_environment

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="installed without the benchmarks")


@pytest.fixture
def scale_model(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("scale_model")


def test_a_model_is_found_again_from_what_it_says(scale_model: ModuleType) -> None:
    true = scale_model.CostModel(s=2.5, a=3e-3, d=5e-5, b=2e-2, c=3e-5)
    runs = [(250, 900, 4), (250, 2200, 32), (500, 4500, 16), (1000, 3000, 8), (2000, 9000, 32),
            (300, 300, 2)]  # fmt: skip
    points = [scale_model.Point(*run, seconds=0.0) for run in runs]
    points = [scale_model.Point(*run, seconds=true.seconds(point))
              for run, point in zip(runs, points, strict=True)]  # fmt: skip
    found = scale_model.fitted(points)
    for name in ("s", "a", "d", "b", "c"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), rel=1e-4)
    assert scale_model.errors(points) == pytest.approx([0.0] * 6, abs=1e-4)


def test_slots_are_busy_where_epochs_are_long_and_starve_where_they_are_short(
    scale_model: ModuleType,
) -> None:
    assert scale_model.busy(512, 1e6, 0.01) == pytest.approx(1, abs=1e-6)
    # A driver that is never idle answers 1 / service times a second, whoever asks.
    assert scale_model.busy(512, 0.1, 0.01) == pytest.approx(0.1 / (512 * 0.01), rel=1e-3)
    # One slot waits for its own answer only.
    assert scale_model.busy(1, 3.0, 1.0) == pytest.approx(0.75)


def test_the_shortest_epoch_keeps_the_slots_as_busy_as_wanted(scale_model: ModuleType) -> None:
    for slots in (1, 32, 512):
        epoch_s = scale_model.shortest_epoch_s(slots, 0.01)
        assert scale_model.busy(slots, epoch_s, 0.01) == pytest.approx(0.95, abs=2e-3)


@pytest.mark.slow
@pytest.mark.cluster
def test_forty_trials_on_two_nodes_are_each_in_the_ledger_once_and_whole(tmp_path: Path) -> None:
    asked = ["--parts", "main", "--trials", "40", "--nodes", "2", "--gpus", "2", "--epoch-s", "0"]
    kept = ["--folder", str(tmp_path / "scale"), "--out", str(tmp_path / "runs.jsonl")]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "scale.py"), *asked, *kept],
        env=ray_environment(tmp_path / "home"), capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = check_study(tmp_path / "scale" / "ours" / "s", trials=40, epochs=27)
    (run,) = map(json.loads, (tmp_path / "runs.jsonl").read_text().splitlines())
    assert run["told"]["trials"] == 40
    assert run["told"]["epochs"] == sum(len(trial.epochs) for trial in record.trials)
    assert 1 <= run["slot"]["actors"] <= 4
