"""A disk of 2 MB that fills up while a search writes: nothing is lost, and it goes on later."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from invented_curves import rising
from leases import wait_until
from searching import check_study, space_with

from dexsearch.errors import EnvironmentFault
from dexsearch.ledger.study import read_study
from dexsearch.search import disk_guard, lease
from dexsearch.search.in_process import InProcessBackend
from dexsearch.search.lease_file import newest_claim
from dexsearch.search.progress import SilentProgress
from dexsearch.search.site import Site
from dexsearch.search.study import run_study
from dexsearch.search.trial import Assignment, Record

TRIALS, EPOCHS = 4, 6
SHORT: dict[str, Any] = {
    "trials": TRIALS, "epochs": EPOCHS, "pruner": {"kind": "none"},
    "resources": {"disk_wait_s": 0.0},
}  # fmt: skip


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Small as it is, it is not short of space before a trial begins."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    monkeypatch.setattr(disk_guard, "MARGIN_BYTES", 0)
    monkeypatch.setattr(disk_guard, "MARGIN_FILES", 0)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Take all space that is left but `leave` bytes; return the file to delete."""
    filler = disk / "filler"
    with filler.open("ab") as file:
        found = os.statvfs(disk)
        n_bytes = found.f_bavail * found.f_frsize - leave
        if n_bytes > 0:
            os.posix_fallocate(file.fileno(), file.tell(), n_bytes)
    return filler


def filling(disk: Path, *, number: int, epoch: int) -> Callable[[Assignment], Iterator[Record]]:
    """Return trials of which one fills the disk before it reports an epoch."""

    def train(assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            if (assignment.number, record["epoch"]) == (number, epoch):
                fill(disk)
            yield {**record, "notes": "x" * 4000}  # more than what a page may have left

    return train


def search(study: Path, storage: Path, function: Callable[..., Iterator[Record]]) -> None:
    run_study(
        space_with(**SHORT), study=study.name, folder=study, dataset=Path("datasets/x"),
        dataset_digest="digest", size_px=(64, 64), progress=SilentProgress(),
        backend=InProcessBackend(function), site=Site(storage=str(storage)),
    )  # fmt: skip


def test_a_search_whose_ledger_finds_no_room_ends_with_a_hint_and_continues_later(
    disk: Path, tmp_path: Path
) -> None:
    study, storage = disk / "ribs", tmp_path / "storage"
    with pytest.raises(EnvironmentFault, match=r"No space left|short of disk space") as full:
        search(study, storage, filling(disk, number=1, epoch=3))
    assert "the same command then continues" in (full.value.hint or "")
    claim = newest_claim(study)
    assert claim is not None
    assert claim.released, "giving the lease back needs no room"
    known = read_study(study).trials
    assert sum(len(trial.epochs) for trial in known) >= 4

    with pytest.raises(EnvironmentFault, match="No space left"):
        search(study, storage, rising)
    assert read_study(study).trials == known, "a start on a full disk changes nothing"

    (disk / "filler").unlink()
    search(study, storage, rising)
    check_study(study, trials=TRIALS, epochs=EPOCHS)


def test_a_start_with_no_room_for_study_db_is_refused_and_loses_nothing(
    disk: Path, tmp_path: Path
) -> None:
    study, storage = disk / "ribs", tmp_path / "storage"
    with pytest.raises(EnvironmentFault):
        search(study, storage, filling(disk, number=0, epoch=2))
    (disk / "filler").unlink()
    (study / "study.db").unlink()
    fill(disk, leave=48 * 1024)
    with pytest.raises(EnvironmentFault, match=r"cannot write .*study\.db") as full:
        search(study, storage, rising)
    assert "free some disk space" in (full.value.hint or "")
    (disk / "filler").unlink()
    search(study, storage, rising)
    check_study(study, trials=TRIALS, epochs=EPOCHS)


def test_a_trial_that_fails_on_a_full_disk_is_in_the_ledger_without_its_log(
    disk: Path, tmp_path: Path
) -> None:
    study, storage = tmp_path / "ribs", tmp_path / "storage"
    (disk / "logs").mkdir()
    study.mkdir()
    (study / "logs").symlink_to(disk / "logs")
    fill(disk)

    def broken(assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            if assignment.number == 1 and record["epoch"] == 2:
                raise RuntimeError("no such kernel")
            yield record

    search(study, storage, broken)
    (failed,) = read_study(study).in_state("failed")
    assert (failed.number, failed.reason) == (1, "RuntimeError: no such kernel")
    assert [path.stat().st_size for path in (disk / "logs").iterdir()] in ([], [0])


def test_a_heart_beats_on_a_full_disk(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pace = lease.Pace(beat_s=0.01)
    with lease.study_lease(disk / "ribs", takeover=False, tell=lambda text: None, pace=pace):
        fill(disk)
        assert os.statvfs(disk).f_bavail == 0
        before = newest_claim(disk / "ribs")
        wait_until(lambda: newest_claim(disk / "ribs") != before)
