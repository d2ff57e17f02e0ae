"""A dataset goes where OUT leads, or is refused before an image is made."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dexsearch.data.store import Dataset, Sample, open_dataset
from dexsearch.errors import DataError, DexSearchError, EnvironmentFault

Write = Callable[..., Dataset]


def never() -> Iterator[Sample]:
    raise AssertionError("images were made for a place that cannot be written")
    yield


def refused(write: Write, path: Path, kind: type[DexSearchError], message: str) -> str:
    with pytest.raises(kind, match=message) as hit:
        write(never(), path=path)
    assert "\n" not in str(hit.value)
    return hit.value.hint or ""


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed_and_the_partial_folder_lies_beside_its_target(
    write: Write, tmp_path: Path, exists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, link = tmp_path / "disk" / "cohort", tmp_path / "link"
    real.parent.mkdir()
    if exists:
        real.mkdir()
    link.symlink_to(real)
    renamed: list[Path] = []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda a, b: (renamed.append(a), rename(a, b)))
    dataset = write(path=link)
    assert renamed == [real.with_name("cohort.partial")]
    assert link.is_symlink()
    assert open_dataset(real).manifest == dataset.manifest
    assert write(never(), path=link) == dataset


def test_an_empty_folder_becomes_the_dataset(write: Write, tmp_path: Path) -> None:
    (tmp_path / "cohort").mkdir()
    assert write().path == tmp_path / "cohort"


def test_a_mounted_disk_is_refused_before_any_work(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(Path, "rmdir", busy)
    hint = refused(write, tmp_path / "disk", EnvironmentFault, "'.*disk' cannot be replaced")
    assert "in it" in hint
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]


@pytest.mark.parametrize("name", [".", "", "../here"])
def test_the_working_folder_is_refused(
    write: Write, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert "./cohort" in refused(write, Path(name), DataError, "is the working folder")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_finished_dataset_is_found_from_within(
    write: Write, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dataset.path)
    assert write(never(), path=Path(".")).manifest == dataset.manifest


@pytest.mark.parametrize("length", [250, 300])
def test_a_name_that_is_too_long_is_refused(write: Write, tmp_path: Path, length: int) -> None:
    hint = refused(write, tmp_path / ("x" * length), EnvironmentFault, "File name too long")
    assert hint == "name a shorter OUT"


def test_a_name_that_is_too_long_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(tmp_path / ("x" * 300))


def test_a_place_below_a_file_and_a_file_are_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    hint = refused(write, tmp_path / "file" / "cohort", EnvironmentFault, "Not a directory")
    assert "below a file" in hint
    refused(write, tmp_path / "file", DataError, "is a file; a dataset is a folder")


def test_a_link_in_a_circle_is_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(write, tmp_path / "loop", DataError, "is a link in a circle")


def test_a_folder_without_write_permission_is_refused(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    hint = refused(write, tmp_path / "cohort", EnvironmentFault, "Permission denied")
    assert "permissions" in hint


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system of the kernel")
def test_a_file_system_that_takes_no_folders_is_refused(write: Write) -> None:
    refused(write, Path("/proc/cohort"), EnvironmentFault, "cannot write dataset")


def test_a_folder_of_other_things_is_refused_and_kept(write: Write, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    hint = refused(write, tmp_path, DataError, "already holds something else than a dataset")
    assert hint == "name another OUT"
    assert (tmp_path / "thesis.txt").exists()
