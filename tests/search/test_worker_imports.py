"""Laws of the folders from which the processes of a search import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dexsearch.search.worker_imports import python_with, shared_folders


def test_workers_get_no_folder_that_this_process_ignores(tmp_path: Path) -> None:
    offered = [str(tmp_path / "script"), str(tmp_path)]
    assert shared_folders(offered, ["/usr/lib/python3.11"]) == []
    assert shared_folders(offered, [str(tmp_path / "script")]) == [str(tmp_path / "script")]


def test_a_folder_is_the_same_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    for own in ("", ".", str(tmp_path), str(tmp_path / "link"), f"{tmp_path}/"):
        assert shared_folders([os.getcwd()], [own]) == [os.getcwd()], own


def test_ray_is_told_none_of_the_folders_that_it_adds_by_itself(tmp_path: Path) -> None:
    from ray.core.generated.common_pb2 import JobConfig

    from dexsearch.search.ray_cluster import OwnImports

    job = OwnImports()
    job._py_driver_sys_path.append(str(tmp_path))  # as ray.init does with the current folder
    sent = JobConfig.FromString(job._serialize())
    assert list(sent.py_driver_sys_path) == []


def test_a_module_is_not_looked_for_in_a_folder_that_this_process_ignores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "tool.py").write_text("print('of the current folder')")
    (tmp_path / "json" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    for own, told in (([], "{}"), ([str(tmp_path)], "of the current folder")):
        monkeypatch.setattr(sys, "path", own)
        command = python_with("json.tool")
        done = subprocess.run(command, input="{}", capture_output=True, text=True, check=True)
        assert done.stdout.strip() == told
