"""A dataset is the same, byte for byte, wherever its writing was interrupted."""

import errno
import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from dexsearch import __version__
from dexsearch.data.array_stream import ArrayStream
from dexsearch.data.splits import Split
from dexsearch.data.store import Dataset, Sample, write_dataset
from dexsearch.errors import DataError, EnvironmentFault
from tests.data.conftest import POSES, SUBJECTS, UNITS, make_sample

Batches = Callable[[int], Iterator[Sequence[Sample]]]


def batches_from(n_done: int) -> Iterator[Sequence[Sample]]:
    """One batch per subject; the first and the fourth are empty."""
    done = [[make_sample(subject, pose) for pose in POSES] for subject in SUBJECTS]
    yield from [[], *done[:2], [], *done[2:]][n_done:]


N_BATCHES = len(SUBJECTS) + 2


def write(path: Path, batches: Batches, split: Split, seed: int = 0, **options: object) -> Dataset:
    return write_dataset(
        path, batches, split, kind="phantom", pixel_mm=2.0, units=UNITS, source={"seed": seed},
        **options,  # type: ignore[arg-type]
    )  # fmt: skip


def ending_after(n_batches: int, fault: BaseException) -> Batches:
    def batches(n_done: int) -> Iterator[Sequence[Sample]]:
        for number, batch in enumerate(batches_from(n_done), start=n_done):
            if number == n_batches:
                raise fault
            yield batch
        raise fault

    return batches


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def whole(tmp_path: Path, split: Split) -> dict[str, bytes]:
    return contents(write(tmp_path / "whole", batches_from, split).path)


@pytest.mark.parametrize("n_batches", range(N_BATCHES + 1))
def test_an_interrupted_dataset_is_continued_to_the_same_bytes(
    tmp_path: Path, split: Split, whole: dict[str, bytes], n_batches: int
) -> None:
    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        write(path, ending_after(n_batches, KeyboardInterrupt()), split)
    asked: list[int] = []

    def later(n_done: int) -> Iterator[Sequence[Sample]]:
        asked.append(n_done)
        return batches_from(n_done)

    assert contents(write(path, later, split).path) == whole
    # Empty batches are recorded like any other.
    assert asked == [n_batches]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cohort", "whole"]


def test_an_interruption_after_every_batch_changes_nothing(
    tmp_path: Path, split: Split, whole: dict[str, bytes]
) -> None:
    path = tmp_path / "cohort"
    for n_batches in range(1, N_BATCHES + 1):
        with pytest.raises(EnvironmentFault, match="disk full"):
            write(path, ending_after(n_batches, EnvironmentFault("disk full")), split)
    assert contents(write(path, batches_from, split).path) == whole


@pytest.mark.parametrize("torn", ["array", "journal", "both"])
def test_what_a_crash_tore_is_cut_off_and_made_again(
    tmp_path: Path, split: Split, whole: dict[str, bytes], torn: str
) -> None:
    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        write(path, ending_after(4, KeyboardInterrupt()), split)
    partial = tmp_path / "cohort.partial"
    if torn in ("array", "both"):
        for array in partial.rglob("*.npy"):
            array.write_bytes(array.read_bytes() + b"half an image")
    if torn in ("journal", "both"):
        journal = partial / ".writing" / "journal"
        journal.write_bytes(journal.read_bytes()[:-30])
    assert contents(write(path, batches_from, split).path) == whole


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
            write(path, batches_from, split)
        except KeyboardInterrupt:
            n_left = -1
            assert contents(write(path, batches_from, split).path) == whole
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
        write(tmp_path / "cohort", batches_from, split)
    assert "free space" in (hit.value.hint or "")
    assert contents(write(tmp_path / "cohort", batches_from, split).path) == whole


def test_a_journal_that_promises_more_than_there_is_is_refused(
    tmp_path: Path, split: Split
) -> None:
    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        write(path, ending_after(4, KeyboardInterrupt()), split)
    array = max((tmp_path / "cohort.partial").rglob("bone.npy"), key=lambda p: p.stat().st_size)
    os.truncate(array, 200)
    with pytest.raises(EnvironmentFault, match="not as its journal says") as hit:
        write(path, batches_from, split)
    assert "remove" in (hit.value.hint or "")


def test_the_leftovers_of_another_request_are_replaced(tmp_path: Path, split: Split) -> None:
    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        write(path, ending_after(3, KeyboardInterrupt()), split, seed=1)
    asked: list[int] = []

    def first(n_done: int) -> Iterator[Sequence[Sample]]:
        asked.append(n_done)
        return batches_from(n_done)

    assert write(path, first, split, seed=2).manifest.source == {"seed": 2}
    assert asked == [0]


def test_bad_data_leave_nothing_behind(tmp_path: Path, split: Split) -> None:
    with pytest.raises(DataError, match="unreadable CT"):
        write(tmp_path / "cohort", ending_after(2, DataError("unreadable CT")), split)
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_dataset_are_told(tmp_path: Path, split: Split) -> None:
    lock = tmp_path / "cohort.partial" / ".writing" / "lock"

    def busy(n_done: int) -> Iterator[Sequence[Sample]]:
        yield next(batches_from(1))
        write(tmp_path / "cohort", batches_from, split)

    with pytest.raises(EnvironmentFault, match=f"written by process {os.getpid()} on ") as hit:
        write(tmp_path / "cohort", busy, split)
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
from tests.data.test_writing import batches_from, write

def killed(n_done):
    for number, batch in enumerate(batches_from(n_done)):
        if number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch

write(Path({str(path)!r}), killed, split_subjects(SUBJECTS, seed=0))
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    assert ended.returncode == -signal.SIGKILL
    asked: list[int] = []

    def later(n_done: int) -> Iterator[Sequence[Sample]]:
        asked.append(n_done)
        return batches_from(n_done)

    assert contents(write(path, later, split).path) == whole
    assert asked == [4]


def test_a_folder_of_the_user_is_never_emptied(tmp_path: Path, split: Split) -> None:
    mine = tmp_path / "cohort.partial" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    with pytest.raises(DataError, match="in the way"):
        write(tmp_path / "cohort", batches_from, split)
    assert mine.read_text() == "years of work"


def test_the_generator_is_closed_at_once_when_writing_fails(tmp_path: Path, split: Split) -> None:
    closed: list[bool] = []

    def bad(n_done: int) -> Iterator[Sequence[Sample]]:
        try:
            yield [replace(make_sample(SUBJECTS[0], POSES[0]), subject="stranger")]
        finally:
            closed.append(True)

    with pytest.raises(DataError, match="stranger"):
        write(tmp_path / "cohort", bad, split)
    assert closed == [True]


def test_the_request_of_a_half_written_dataset_can_be_read(tmp_path: Path, split: Split) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cohort", ending_after(1, KeyboardInterrupt()), split)
    request = json.loads((tmp_path / "cohort.partial" / ".writing" / "request").read_text())
    assert request["origin"]["source"] == {"seed": 0}


def made_by(projector: str) -> dict[str, object]:
    return {"made_with": {"projector": projector}}


@pytest.mark.parametrize(("second", "n_asked"), [("fast", 3), ("torch", 0)])
def test_a_dataset_is_continued_only_by_what_began_it(
    tmp_path: Path, split: Split, second: str, n_asked: int
) -> None:
    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        write(path, ending_after(3, KeyboardInterrupt()), split, **made_by("fast"))
    asked: list[int] = []

    def later(n_done: int) -> Iterator[Sequence[Sample]]:
        asked.append(n_done)
        return batches_from(n_done)

    manifest = write(path, later, split, **made_by(second)).manifest
    assert asked == [n_asked]
    assert manifest.made_with == {"dexsearch": __version__, "projector": second}


def test_a_finished_dataset_is_returned_whatever_made_it(tmp_path: Path, split: Split) -> None:
    first = write(tmp_path / "cohort", batches_from, split, **made_by("fast"))
    assert write(tmp_path / "cohort", batches_from, split, **made_by("torch")) == first


N_IMAGES = len(SUBJECTS) * len(POSES)


def test_a_lost_part_is_noticed_and_the_next_run_starts_anew(
    tmp_path: Path, split: Split, whole: dict[str, bytes]
) -> None:
    def losing(n_done: int) -> Iterator[Sequence[Sample]]:
        yield from (batch for number, batch in enumerate(batches_from(n_done)) if number != 2)

    path, expected = tmp_path / "cohort", f"{N_IMAGES - len(POSES)} of {N_IMAGES} images arrived"
    with pytest.raises(EnvironmentFault, match=expected) as hit:
        write(path, losing, split, n_expected=N_IMAGES)
    assert "anew" in (hit.value.hint or "")
    assert contents(write(path, batches_from, split, n_expected=N_IMAGES).path) == whole


def test_an_image_that_an_interrupted_run_has_written_does_not_come_again(
    tmp_path: Path, split: Split, whole: dict[str, bytes]
) -> None:
    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        write(path, ending_after(3, KeyboardInterrupt()), split)
    with pytest.raises(EnvironmentFault, match="arrives again, written by an interrupted run"):
        write(path, lambda n_done: batches_from(0), split)
    assert contents(write(path, batches_from, split).path) == whole


def test_a_source_that_cannot_be_read_is_told_from_a_refusing_disk(
    tmp_path: Path, split: Split, whole: dict[str, bytes]
) -> None:
    gone = FileNotFoundError(errno.ENOENT, "No such file or directory", "ct/chest.nii")
    with pytest.raises(EnvironmentFault, match=r"cannot make the images: .*ct/chest\.nii") as hit:
        write(tmp_path / "cohort", ending_after(3, gone), split)
    assert "can be read" in (hit.value.hint or "")
    assert contents(write(tmp_path / "cohort", batches_from, split).path) == whole
