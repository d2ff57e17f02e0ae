"""The command line: light to import, one line per error, an exit code for each kind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "ray", "mlflow", "optuna", "matplotlib", "skimage", "scipy"}


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `dexsearch` as a user does, in an empty folder."""
    return subprocess.run(
        [sys.executable, "-m", "dexsearch", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120"},
        check=False,
    )


def test_help_imports_no_heavy_library() -> None:
    script = "import sys, dexsearch.cli.app; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not HEAVY & set(loaded)


def test_help_names_every_command(tmp_path: Path) -> None:
    shown = run("--help", cwd=tmp_path)
    assert shown.returncode == 0
    for command in ("data", "tune", "status", "best", "predict"):
        assert command in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (["tune", "--space", "jiont.yaml"], 3, "did you mean 'joint.yaml'?"),
        (["tune", "--space", "bad.yaml"], 3, "bad.yaml:4: unknown key 'epoch'"),
        (["tune", "--space", "deep.yaml"], 3, "generator.depth"),
        (["tune", "--space", "patch.yaml"], 3, "discriminator.patch_px"),
        (["tune", "--space", "missing.yaml"], 7, "datasets/nowhere"),
        (["tune", "--space", "quickstart.yaml", "--trials", "0"], 2, "--trials"),
        (["tune", "--space", "quickstart.yaml", "--study", "../up"], 3, "'../up'"),
        (["tunne"], 2, "tune"),
        (["status", "nothing"], 3, "no study 'nothing'"),
        (["predict", "dexsearch-joint@champion", "x.npy", "out"], 4, "dexsearch-joint"),
        (["data", "info", "nowhere"], 7, "nowhere"),
    ],
)
def test_wrong_use_is_one_line_and_a_code(
    tmp_path: Path, arguments: list[str], exit_code: int, told: str
) -> None:
    for name, search in (
        ("bad", "epoch: 3"),
        ("deep", "search: {generator.depth: {int: [3, 7]}}"),
        ("patch", "search: {discriminator.patch_px: {choice: [16, 286]}}"),
        ("missing", ""),
    ):
        data = "path: datasets/nowhere" if name == "missing" else "phantom: {size_px: 64}"
        (tmp_path / f"{name}.yaml").write_text(f"task: joint\ndata:\n  {data}\n{search}\n")
    before = sorted(tmp_path.iterdir())
    ended = run(*arguments, cwd=tmp_path)
    assert ended.returncode == exit_code, ended.stderr
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert sorted(tmp_path.iterdir()) == before, "a refused command leaves nothing behind"


def test_best_without_generators_says_what_to_type(tmp_path: Path) -> None:
    shown = run("best", cwd=tmp_path)
    assert "dexsearch tune --space" in shown.stdout + shown.stderr


@pytest.mark.parametrize("arguments", [["best"], ["status", "nothing"]])
def test_a_reader_that_has_gone_does_not_change_the_exit_code(
    tmp_path: Path, arguments: list[str]
) -> None:
    expected = run(*arguments, cwd=tmp_path).returncode
    for lost in ("stdout", "stderr"):
        reader, writer = os.pipe()
        os.close(reader)
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {lost: writer}
        ended = subprocess.run(
            [sys.executable, "-m", "dexsearch", *arguments], cwd=tmp_path, check=False, **streams
        )
        os.close(writer)
        assert ended.returncode == expected
        assert b"BrokenPipe" not in (ended.stderr or b"")


def test_a_traceback_cannot_drive_the_terminal(tmp_path: Path) -> None:
    ended = run("--debug", "tune", "--space", "\x1b[2Jevil.yaml", cwd=tmp_path)
    assert ended.returncode == 3
    assert "Traceback" in ended.stderr
    assert "\\x1b[2Jevil.yaml" in ended.stderr
    assert "\x1b" not in ended.stderr
