"""A downloaded folder that holds a space, a dataset and Python files: commands run in it run none.

The installed command is meant: `python -m` itself imports from the current folder.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dexsearch.data.store import Dataset

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

SPACE = """\
task: bone
data: {path: cohort}
trials: 2
epochs: 2
register: 1
pruner: {kind: none}
search: {generator.depth: {int: [1, 2]}}
fixed: {generator.width: 2, batch_size: 4, discriminator.patch_px: 1}
"""
MODULES = (
    "torch", "numpy", "ray", "optuna", "mlflow", "dexsearch", "grpc", "yaml", "json", "pickle",
    "multiprocessing", "subprocess", "socket", "asyncio", "psutil", "sitecustomize",
)  # fmt: skip


@pytest.fixture
def downloaded(tmp_path: Path, exposed_cohort: Dataset) -> Path:
    """A folder with a good space, good data, and modules that leave a mark and fail."""
    folder = tmp_path / "downloaded"
    shutil.copytree(exposed_cohort.path, folder / "cohort")
    (folder / "space.yaml").write_text(SPACE)
    for name in MODULES:
        mark = str(tmp_path / f"ran-{name}")
        (folder / f"{name}.py").write_text(f"open({mark!r}, 'w').close()\nraise SystemExit(66)\n")
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("dexsearch")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))}
    return subprocess.run(
        [str(program), *arguments], env={**kept, "HOME": str(folder.parent)}, cwd=folder,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_a_search_in_a_downloaded_folder_runs_none_of_its_code(downloaded: Path) -> None:
    workspace = str(downloaded.parent / "workspace")
    done = run(downloaded, "tune", "--space", "space.yaml", "--workspace", workspace)
    assert not list(downloaded.parent.glob("ran-*"))
    assert done.returncode == 0, done.stderr
    done = run(downloaded, "best", "--workspace", workspace)
    assert done.returncode == 0, done.stderr
    assert not list(downloaded.parent.glob("ran-*"))


def test_asking_a_cluster_from_a_downloaded_folder_runs_none_of_its_code(downloaded: Path) -> None:
    arguments = ("doctor", "--quick", "--address", "auto", "--workspace", "../workspace")
    done = run(downloaded, *arguments)
    assert "joining" in done.stdout, done.stderr
    assert not list(downloaded.parent.glob("ran-*"))


def test_making_a_dataset_in_a_downloaded_folder_runs_none_of_its_code(downloaded: Path) -> None:
    """Its views are made by processes that Python starts beside the command."""
    size = ("--subjects", "4", "--poses", "2", "--size", "32")
    done = run(downloaded, "data", "phantom", "made", *size)
    assert done.returncode == 0, done.stderr
    assert not list(downloaded.parent.glob("ran-*"))
