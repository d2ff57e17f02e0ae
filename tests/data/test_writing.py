"""A dataset is the same, byte for byte, wherever its writing was interrupted."""

import errno
import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from dexsearch.data.array_stream import ArrayStream
from dexsearch.data.splits import Split
from dexsearch.data.store import Sample
from dexsearch.errors import DataError, EnvironmentFault
from tests.data.conftest import (
    N_BATCHES,
    POSES,
    SUBJECTS,
    batches_from,
    contents,
    ending_after,
    make_sample,
    write_batches,
)


@pytest.mark.parametrize("n_batches", range(N_BATCHES + 1))
def test_an_interrupted_dataset_is_continued_to_the_same_bytes(
    tmp_path: Path, split: Split, whole: dict[str, bytes], n_batches: int
) -> None:
    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        write_batches(path, ending_after(n_batches, KeyboardInterrupt()), split)
    asked: list[int] = []

    def later(n_done: int) -> Iterator[Sequence[Sample]]:
        asked.append(n_done)
        return batches_from(n_done)

    assert contents(write_batches(path, later, split).path) == whole
    # Empty batches are recorded like any other.
    assert asked == [n_batches]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cohort", "whole"]


def test_an_interruption_after_every_batch_changes_nothing(
    tmp_path: Path, split: Split, whole: dict[str, bytes]
) -> None:
    path = tmp_path / "cohort"
    for n_batches in range(1, N_BATCHES + 1):
        with pytest.raises(EnvironmentFault, match="disk full"):
            write_batches(path, ending_after(n_batches, EnvironmentFault("disk full")), split)
    assert contents(write_batches(path, batches_from, split).path) == whole


@pytest.mark.parametrize("torn", ["array", "journal", "both"])
def test_what_a_crash_tore_is_cut_off_and_made_again(
    tmp_path: Path, split: Split, whole: dict[str, bytes], torn: str
) -> None:
    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        write_batches(path, ending_after(4, KeyboardInterrupt()), split)
    partial = tmp_path / "cohort.partial"
    if torn in ("array", "both"):
        for array in partial.rglob("*.npy"):
            array.write_bytes(array.read_bytes() + b"half an image")
    if torn in ("journal", "both"):
        journal = partial / ".writing" / "journal"
        journal.write_bytes(journal.read_bytes()[:-30])
    assert contents(write_batches(path, batches_from, split).path) == whole


@pytest.mark.slow
def test_wherever_a_flush_is_interrupted_the_bytes_are_the_same(
    tmp_path: Path, split: Split, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, n_left = os.fsync, 0

    def interrupted(descriptor: int) -> None:
        nonlocal n_left
        n_left -= 1
        if n_left == 0:
            raise KeyboardInterrupt
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", interrupted)
    for n_flushes in itertools.count(1):
        path = tmp_path / f"cohort-{n_flushes}"
        n_left = n_flushes
        try:
            write_batches(path, batches_from, split)
        except KeyboardInterrupt:
            n_left = -1
            assert contents(write_batches(path, batches_from, split).path) == whole
        else:
            break
    assert n_flushes > 50


def test_a_full_disk_keeps_what_is_done(
    tmp_path: Path, split: Split, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    n_left = 20
    append = ArrayStream.append

    def refusing(stream: ArrayStream, image: NDArray[Any]) -> None:
        nonlocal n_left
        n_left -= 1
        if n_left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(stream, image)

    monkeypatch.setattr(ArrayStream, "append", refusing)
    with pytest.raises(EnvironmentFault, match="No space left on device") as hit:
        write_batches(tmp_path / "cohort", batches_from, split)
    assert "free space" in (hit.value.hint or "")
    assert contents(write_batches(tmp_path / "cohort", batches_from, split).path) == whole


def test_a_journal_that_promises_more_than_there_is_is_refused(
    tmp_path: Path, split: Split
) -> None:
    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        write_batches(path, ending_after(4, KeyboardInterrupt()), split)
    array = max((tmp_path / "cohort.partial").rglob("bone.npy"), key=lambda p: p.stat().st_size)
    os.truncate(array, 200)
    with pytest.raises(EnvironmentFault, match="not as its journal says") as hit:
        write_batches(path, batches_from, split)
    assert "remove" in (hit.value.hint or "")


def test_bad_data_leave_nothing_behind(tmp_path: Path, split: Split) -> None:
    with pytest.raises(DataError, match="unreadable CT"):
        write_batches(tmp_path / "cohort", ending_after(2, DataError("unreadable CT")), split)
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_dataset_are_told(tmp_path: Path, split: Split) -> None:
    lock = tmp_path / "cohort.partial" / ".writing" / "lock"

    def busy(n_done: int) -> Iterator[Sequence[Sample]]:
        yield next(batches_from(1))
        write_batches(tmp_path / "cohort", batches_from, split)

    with pytest.raises(EnvironmentFault, match=f"written by process {os.getpid()} on ") as hit:
        write_batches(tmp_path / "cohort", busy, split)
    assert "wait" in (hit.value.hint or "")
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.slow
def test_the_lock_of_a_killed_writer_is_free_and_its_work_is_kept(
    tmp_path: Path, split: Split, whole: dict[str, bytes]
) -> None:
    path = tmp_path / "cohort"
    script = f"""
import os, signal
from pathlib import Path
from dexsearch.data.splits import split_subjects
from tests.data.conftest import SUBJECTS
from tests.data.conftest import batches_from, write_batches

def killed(n_done):
    for number, batch in enumerate(batches_from(n_done)):
        if number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch

write_batches(Path({str(path)!r}), killed, split_subjects(SUBJECTS, seed=0))
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    assert ended.returncode == -signal.SIGKILL
    asked: list[int] = []

    def later(n_done: int) -> Iterator[Sequence[Sample]]:
        asked.append(n_done)
        return batches_from(n_done)

    assert contents(write_batches(path, later, split).path) == whole
    assert asked == [4]


def test_a_folder_of_the_user_is_never_emptied(tmp_path: Path, split: Split) -> None:
    mine = tmp_path / "cohort.partial" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    with pytest.raises(DataError, match="in the way"):
        write_batches(tmp_path / "cohort", batches_from, split)
    assert mine.read_text() == "years of work"


def test_the_generator_is_closed_at_once_when_writing_fails(tmp_path: Path, split: Split) -> None:
    closed: list[bool] = []

    def bad(n_done: int) -> Iterator[Sequence[Sample]]:
        try:
            yield [replace(make_sample(SUBJECTS[0], POSES[0]), subject="stranger")]
        finally:
            closed.append(True)

    with pytest.raises(DataError, match="stranger"):
        write_batches(tmp_path / "cohort", bad, split)
    assert closed == [True]


def test_the_request_of_a_half_written_dataset_can_be_read(tmp_path: Path, split: Split) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_batches(tmp_path / "cohort", ending_after(1, KeyboardInterrupt()), split)
    request = json.loads((tmp_path / "cohort.partial" / ".writing" / "request").read_text())
    assert request["origin"]["source"] == {"seed": 0}
