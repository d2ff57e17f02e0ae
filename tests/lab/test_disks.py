"""Disks that are full, or not the same one everywhere."""

import contextlib
import os
from pathlib import Path

import pytest
from clusters import LabCluster, wait_until
from laws import assert_whole
from searches import NewSearch
from table import Row

pytestmark = pytest.mark.lab
ENVIRONMENT_FAULT = 4


def fill(folder: Path) -> Path:
    """Take all space that is left; return the file to delete."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, os.statvfs(folder).f_bavail * 4096 - 2**22)
        file.seek(0, os.SEEK_END)
        while file.write(bytes(4096)):
            pass
    return filler


def test_disk_full(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady, trials=4)
    driver = search.start("--storage", str(steady.disk / "full"))
    search.wait_for_epochs(20, driver)
    filler = fill(steady.disk)

    def waits() -> bool:
        return "waiting for disk space" in driver.stderr or driver.process.poll() is not None

    try:
        wait_until(waits, 180, why=lambda: driver.stderr[-2000:])
        row.saw(next(line for line in driver.stderr.splitlines() if "disk space" in line))
    finally:
        filler.unlink()
    driver.ended_well()
    whole = assert_whole(search.study, 4, states=("complete",))
    row.lost_twice = whole.told
    row.saw(f"once it was freed, the search went on by itself: {whole.states}")


def test_storage_not_shared(steady: LabCluster, new_search: NewSearch, row: Row) -> None:
    search = new_search(steady, trials=3)
    steady.start(4, setup=f"mount -t tmpfs none {steady.shared} &&")
    steady.wait(4)
    try:
        driver = search.start("--storage", str(steady.shared / "s"))
        code = driver.wait(240)
    finally:
        steady.leave(4)
    assert code == ENVIRONMENT_FAULT, f"exit code {code}: {driver.stderr[-2000:]}"
    assert steady.hosts.address(4) in driver.stderr, driver.stderr[-2000:]
    assert not any(event["event"] == "trial_started" for event in search.events)
    row.saw(f"refused before any trial, {driver.told_error}")
