"""`dexsearch simulate` as it is typed; what it replays is tested in tests/jobs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "search" / "support"))

from invented_tables import table_with

from dexsearch.search.curves import write_table


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    write_table(table_with(16), folder / "table.jsonl")
    command = [sys.executable, "-m", "dexsearch", "simulate", "table.jsonl", "--jobs", "1",
               "--seeds", "2"]  # fmt: skip
    return subprocess.run(
        [*command, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_json_goes_to_stdout_and_every_option_counts(tmp_path: Path) -> None:
    done = run(
        tmp_path, "--sampler", "random", "--pruner", "median:min_epochs=2", "--pruner", "none",
        "--workers", "3", "--within", "0.05", "--objective", "val_ssim", "--out", "plot.png",
        "--format", "json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert [pair["name"] for pair in shown["pairs"]] == [
        "random / none", "random / median(min_epochs=2, immune_every=4)",
    ]  # fmt: skip
    assert (shown["workers"], shown["seeds"], shown["within"]) == (3, 2, 0.05)
    assert shown["pairs"][0]["best_tenth_stopped"] == 0
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"


def test_text_has_a_line_for_each_pair(tmp_path: Path) -> None:
    done = run(tmp_path, "--sampler", "random", "--pruner", "hyperband")
    assert done.returncode == 0, done.stderr
    assert "16 recorded curves of 9 epochs, 8 workers, 2 seeds" in done.stdout
    assert "random / hyperband(min_epochs=3, reduction=4, immune_every=4)" in done.stdout
    assert "best tenth stopped" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pruner", "none:kind=median"), "error: --pruner 'none:kind=median': none has no"),
        (("--sampler", "grid"), "error: --sampler 'grid': got 'grid'"),
        (("--out", "no/plot.png"), "error: the plot cannot be written to 'no/plot.png': there is"),
    ],
)
def test_a_bad_option_is_an_error_in_a_line(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr


def test_a_damaged_header_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    write_table(table_with(9), tmp_path / "bad.jsonl")
    header, *rows = (tmp_path / "bad.jsonl").read_text().splitlines()
    damaged = json.dumps({**json.loads(header), "space": {}})
    (tmp_path / "bad.jsonl").write_text("\n".join([damaged, *rows]))
    command = [sys.executable, "-m", "dexsearch", "simulate", "bad.jsonl"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("error: bad.jsonl:1: its space is not valid: key 'task' is mis")
