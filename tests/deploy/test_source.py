"""The source distribution holds what its own tests read, and no secret."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder

from tests.deploy.support.files import DEPLOY, ROOT

PARTS = ("tests", "deploy", "docs", "benchmarks", "search_spaces", "dexsearch")
FILES = ("Makefile", "SECURITY.md", "CONTRIBUTING.md", "constraints.txt", ".dockerignore")


def _held(root: Path = ROOT) -> set[str]:
    return {file.distribution_path for file in SdistBuilder(str(root)).recurse_included_files()}


def test_everything_that_tests_read_is_in_the_source_distribution() -> None:
    held = _held()
    assert set(FILES) <= held
    assert all(any(name.startswith(f"{part}/") for name in held) for part in PARTS)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_every_file_under_version_control_is_in_the_source_distribution() -> None:
    command = ["git", "ls-files", "-z", *PARTS]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    assert {name for name in told.split("\0") if name and (ROOT / name).exists()} <= _held()


def test_no_secret_of_a_cluster_is_in_the_source_distribution(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    secrets = tmp_path / "deploy" / "compose" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "ray_token").write_text("of a cluster")
    (secrets.parent / "compose.yaml").write_text((DEPLOY / "compose" / "compose.yaml").read_text())
    held = _held(tmp_path)
    assert "deploy/compose/compose.yaml" in held
    assert not [name for name in held if "ray_token" in name]
