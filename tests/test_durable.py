"""Laws of files that are whole or absent."""

import os
import socket
from pathlib import Path

import pytest

from dexsearch.durable import (
    is_orphan,
    partial_beside,
    remove_folder,
    remove_orphans,
    write_durably,
)


def test_what_is_written_is_there_and_replaces_what_was(tmp_path: Path) -> None:
    for content in (b"long before", b"now"):
        write_durably(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content


@pytest.mark.parametrize("name", ["data", "a[1]*", "x.partial-y"])
def test_only_dead_writers_of_this_machine_and_name_are_cleared(tmp_path: Path, name: str) -> None:
    from glob import escape

    host = socket.gethostname()
    dead, living, elsewhere, other = (
        tmp_path / f"{name}.partial-{host}-{2**22 + 1}",
        tmp_path / f"{name}.partial-{host}-{os.getppid()}",
        tmp_path / f"{name}.partial-not-{host}-{2**22 + 1}",
        tmp_path / f"other.partial-{host}-{2**22 + 1}",
    )
    own = partial_beside(tmp_path / name)
    for folder in (dead, living, elsewhere, other, own):
        folder.mkdir()
    remove_orphans(tmp_path, escape(name))
    assert sorted(tmp_path.iterdir()) == sorted([living, elsewhere, other])


def test_a_folder_goes_name_first_and_an_orphan_goes_at_once(tmp_path: Path) -> None:
    dead = tmp_path / f"00001.partial-{socket.gethostname()}-{2**22 + 1}"
    for folder in (tmp_path / "00001", dead):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").write_bytes(b"x")
        remove_folder(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_emptied_has_lost_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "00001"
    folder.mkdir()

    def dying(path: Path) -> None:
        raise OSError(5, "the process dies here")

    monkeypatch.setattr("dexsearch.durable.shutil.rmtree", dying)
    with pytest.raises(OSError, match="dies here"):
        remove_folder(folder)
    (left,) = tmp_path.iterdir()
    assert left == partial_beside(folder)
    assert is_orphan(left)
    assert not is_orphan(folder)
