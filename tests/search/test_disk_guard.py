"""The guard against fabricated disks, and against a real small one."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dexsearch.search.disk_guard import (
    MARGIN_BYTES,
    PLENTY_BYTES,
    DiskGuard,
    largest_checkpoint_bytes,
)

MIB = 2**20


def disk(monkeypatch: pytest.MonkeyPatch, *, free_mib: int, files: int = 0, left: int = 0) -> None:
    told = SimpleNamespace(f_bavail=free_mib, f_frsize=MIB, f_files=files, f_favail=left)
    monkeypatch.setattr("dexsearch.search.disk_guard.os.statvfs", lambda path: told)


def checkpoint(storage: Path, trial: int, epoch: int, n_bytes: int) -> None:
    folder = storage / "trials" / str(trial) / f"{epoch:05d}"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(b"\0" * n_bytes)


def test_a_folder_with_the_margin_free_has_no_shortage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(monkeypatch, free_mib=MARGIN_BYTES // MIB)
    assert DiskGuard([tmp_path]).shortage() is None
    disk(monkeypatch, free_mib=MARGIN_BYTES // MIB - 1)
    assert DiskGuard([tmp_path]).shortage() == f"49 MiB free in {tmp_path}, 50 MiB wanted"


def test_storage_wants_the_largest_checkpoint_once_for_each_trial_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(tmp_path, 0, 3, 1 * MIB)
    checkpoint(tmp_path, 1, 7, 2 * MIB)
    (tmp_path / "trials" / "1" / "writer").write_text("not a checkpoint")
    assert largest_checkpoint_bytes(tmp_path, {}) == 2 * MIB
    disk(monkeypatch, free_mib=50 + 8)
    assert DiskGuard([], storage=tmp_path).shortage(at_once=4) is None
    told = DiskGuard([tmp_path / "x"], storage=tmp_path).shortage(at_once=5)
    assert told == f"58 MiB free in {tmp_path}, 60 MiB wanted"


def test_where_there_is_plenty_nobody_looks_how_large_checkpoints_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(storage: Path, known: dict[int, int]) -> int:
        raise AssertionError("looked")

    monkeypatch.setattr("dexsearch.search.disk_guard.largest_checkpoint_bytes", look)
    disk(monkeypatch, free_mib=2 * PLENTY_BYTES // MIB)
    assert DiskGuard([], storage=tmp_path).shortage(at_once=2) is None
    with pytest.raises(AssertionError, match="looked"):
        DiskGuard([], storage=tmp_path).shortage(at_once=3)


def test_a_trial_is_looked_at_until_it_has_a_checkpoint_and_never_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    scandir = os.scandir

    def watched(folder: Path) -> Any:  # noqa: ANN401
        looked_at.append(str(Path(folder).relative_to(tmp_path)))
        return scandir(folder)

    checkpoint(tmp_path, 0, 3, 2 * MIB)
    (tmp_path / "trials" / "1").mkdir()
    disk(monkeypatch, free_mib=51)
    monkeypatch.setattr("dexsearch.search.disk_guard.os.scandir", watched)
    guard = DiskGuard([], storage=tmp_path)
    told = f"51 MiB free in {tmp_path}, 52 MiB wanted"
    assert guard.shortage() == told
    looked_at.clear()
    assert guard.shortage() == told
    assert looked_at == ["trials/1"]
    checkpoint(tmp_path, 1, 1, 3 * MIB)
    assert guard.shortage() == f"51 MiB free in {tmp_path}, 53 MiB wanted"
    looked_at.clear()
    assert guard.shortage() is not None
    assert looked_at == []


def test_too_few_inodes_are_a_shortage_and_no_count_of_them_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(monkeypatch, free_mib=1000, files=5000, left=99)
    assert DiskGuard([tmp_path]).shortage() == f"99 more files fit in {tmp_path}, 100 wanted"
    disk(monkeypatch, free_mib=1000, files=0, left=0)
    assert DiskGuard([tmp_path]).shortage() is None


def test_a_folder_not_made_yet_counts_as_its_parent_and_one_out_of_reach_is_in_want(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def stale(path: Path) -> object:
        asked.append(path)
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("dexsearch.search.disk_guard.os.statvfs", stale)
    told = DiskGuard([tmp_path / "a" / "b"]).shortage()
    assert asked == [tmp_path]
    assert told == f"{tmp_path / 'a' / 'b'} cannot be looked at: Stale file handle"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_real_small_disk_is_short(small_disk: Path) -> None:
    assert DiskGuard([small_disk]).shortage() == f"2 MiB free in {small_disk}, 50 MiB wanted"
