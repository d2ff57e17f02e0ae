"""A cluster on this machine runs no code of the current folder, and lets no other user near."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

NOBODY = 65534
TRAPPED = ("torch", "numpy", "ray", "optuna", "json", "pickle", "dexsearch", "multiprocessing")
SEARCH = """
import sys
from dexsearch.search.cluster import prepare_environment
prepare_environment(None)
import ray
from dexsearch.search.ray_cluster import ray_cluster

def found():
    import sys
    import torch
    return f"{torch.__file__}|{ray._private.worker._global_node.get_session_dir_path()}|{sys.path}"

with ray_cluster(None):
    print(ray.get(ray.remote(found).remote()), flush=True)
    sys.stdin.read()
"""


def set_traps(folder: Path) -> Path:
    """Fill a folder with modules that leave a mark when they are imported."""
    folder.mkdir()
    for name in TRAPPED:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'it-ran')!r}, 'w')\n")
    return folder


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """The current folder of a search that runs, and what a task of it found."""
    trapped = set_traps(tmp_path / "trapped")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", SEARCH], env={**kept, "HOME": str(tmp_path)}, cwd=trapped,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        told = process.stdout.readline().strip().split("|")
        try:
            yield trapped, told
        finally:
            process.stdin.close()
            errors = process.stderr.read() if process.stderr else ""
            assert process.wait(timeout=60) == 0, errors


def test_nothing_of_the_current_folder_runs_and_no_other_user_enters(
    cluster: tuple[Path, list[str]],
) -> None:
    trapped, (torch, session, path) = cluster
    assert "site-packages" in torch
    assert str(trapped) not in path
    assert not (trapped / "it-ran").exists()

    given, own = Path(session).parent, Path(session).parent.parent
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert own.stat().st_uid == os.geteuid()
    assert stat.S_IMODE(given.stat().st_mode) == 0o777  # as Ray leaves what it is given
    if os.geteuid() == 0:
        looked = subprocess.run(
            ["ls", f"{session}/sockets"], user=NOBODY, group=NOBODY, extra_groups=[],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert looked.returncode != 0
        assert "Permission denied" in looked.stderr
