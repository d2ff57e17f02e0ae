"""Laws of the folders from which the processes of a search import."""

import os
from pathlib import Path

import pytest

from dexsearch.search.worker_imports import shared_folders


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
