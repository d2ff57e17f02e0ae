"""The flags of `tune`; the search itself is tested in tests/jobs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from dexsearch.cli.options import parse_time

SPACE = """\
task: bone
data:
  phantom: {subjects: 6, poses: 2, size_px: 32}
trials: 3
epochs: 4
pruner: {kind: none}
search: {generator.depth: {int: [1, 2]}}
fixed: {generator.width: 2, batch_size: 4, discriminator.patch_px: 1}
"""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3600", 3600), ("45s", 45), ("90m", 5400), ("2h", 7200), ("1.5 h", 5400), ("1d", 86400)],
)
def test_a_time_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0", "2 hours", "1e3", "nan", "2h30m"])
def test_another_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="for example 90m or 2h"):
        parse_time(text)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "small.yaml").write_text(SPACE)
    command = [sys.executable, "-m", "dexsearch", "tune", "--space", "small.yaml", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_bad_time_is_a_usage_error_that_says_what_is_allowed(tmp_path: Path) -> None:
    done = run(tmp_path, "--time", "soon")
    assert done.returncode == 2
    told = " ".join(done.stderr.replace("│", " ").split())
    assert "'soon' is no time" in told
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_dry_run_prints_plan_and_forecast_and_writes_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "--dry-run", "--time", "2h", "--format", "json", "--address", "auto")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["study"], shown["time_s"]) == ("small", 7200)
    assert shown["forecast"]["n_configurations"] == 2
    assert "measuring an epoch of the cheapest configuration" in done.stderr
    assert "the cluster was not asked: dexsearch doctor --address auto" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


@pytest.mark.slow
@pytest.mark.cluster
def test_a_search_that_nobody_watches_any_more_ends_as_any_other(tmp_path: Path) -> None:
    """As `tune 2>&1 | tee log` with tee killed: all is trained, registered and told on stdout."""
    (tmp_path / "small.yaml").write_text(SPACE)
    kept = {k: v for k, v in os.environ.items() if k != "RAY_AUTH_MODE"}
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "dexsearch", "tune", "--space", "small.yaml", "--format", "json"],
        cwd=tmp_path, env={**kept, "HOME": str(tmp_path)}, stdout=subprocess.PIPE, stderr=writer,
        check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 0
    assert json.loads(done.stdout)["trials"]["complete"] == 3
    assert (tmp_path / "workspace" / "registry.jsonl").is_file()
