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

import numpy as np
import pytest
from numpy.typing import NDArray

from dexsearch.data.array_stream import ArrayStream
from dexsearch.data.splits import Split
from dexsearch.data.store import Dataset, Sample, Tumour, open_dataset, write_dataset
from dexsearch.errors import DataError, EnvironmentFault
from tests.data.conftest import POSES, SUBJECTS, UNITS, make_sample

Batches = Callable[[int], Iterator[Sequence[Sample]]]


def batches_from(n_done: int) -> Iterator[Sequence[Sample]]:
    """One batch per subject; the first and the fourth are empty."""
    done = [[make_sample(subject, pose) for pose in POSES] for subject in SUBJECTS]
    yield from [[], *done[:2], [], *done[2:]][n_done:]


N_BATCHES = len(SUBJECTS) + 2


def write(path: Path, batches: Batches, split: Split, seed: int = 0) -> Dataset:
    return write_dataset(
        path, batches, split, kind="phantom", pixel_mm=2.0, units=UNITS, source={"seed": seed}
    )


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


def given_samples(**changes: object) -> Iterator[Sample]:
    for batch in batches_from(0):
        for sample in batch:
            yield replace(sample, **changes)  # type: ignore[arg-type]


def write_samples(
    path: Path, samples: Iterator[Sample], split: Split, **options: object
) -> Dataset:
    chosen = {"units": UNITS, **options}
    return write_dataset(path, samples, split, kind="ct", pixel_mm=None, source={}, **chosen)  # type: ignore[arg-type]


def test_targets_in_cm_are_path_lengths_and_rounded_once(tmp_path: Path, split: Split) -> None:
    dataset = write_samples(tmp_path / "cm", given_samples(), split)
    arrays = dataset.arrays("train")
    lengths = dataset.path_lengths("train")
    assert lengths is not None
    assert lengths[0].dtype == arrays.tissue.dtype == np.float16
    assert np.array_equal(lengths[1], arrays.bone)
    assert dataset.manifest.arrays["bone"] == "float16"
    values = arrays.bone[arrays.mask].astype(np.float64)
    low, high = np.percentile(values, (0.1, 99.9))
    assert dataset.manifest.data_ranges["bone"] == pytest.approx(high - low, rel=2e-3)


def test_separate_path_lengths_stand_beside_exact_targets(tmp_path: Path, split: Split) -> None:
    lengths = np.full((24, 24), 12.345, dtype=np.float32)
    samples = given_samples(soft_cm=lengths, bone_cm=lengths / 8)
    dataset = write_samples(tmp_path / "wls", samples, split)
    assert dataset.arrays("train").bone.dtype == np.float32
    found = dataset.path_lengths("train")
    assert found is not None
    assert found[0][0, 0, 0] == np.float16(12.345)
    assert found[1][0, 0, 0] == np.float16(12.345 / 8)


def test_targets_of_another_unit_have_no_path_lengths(tmp_path: Path, split: Split) -> None:
    units = dict.fromkeys(("input", "bone", "tissue"), "as imported")
    dataset = write_samples(tmp_path / "imported", given_samples(), split, units=units)
    assert dataset.arrays("train").bone.dtype == np.float32
    assert dataset.path_lengths("train") is None


def test_a_dataset_may_lack_a_target_and_says_so(tmp_path: Path, split: Split) -> None:
    dataset = write_samples(tmp_path / "bone", given_samples(tissue=None), split)
    assert dataset.manifest.targets == ("bone",)
    assert open_dataset(dataset.path).arrays("train").bone.any()
    with pytest.raises(DataError, match="no tissue images; it holds bone alone") as hit:
        dataset.arrays("train").target("tissue")
    assert "task" in (hit.value.hint or "")


def test_an_image_without_a_target_that_the_others_have_is_refused(
    tmp_path: Path, split: Split
) -> None:
    first, second = make_sample(SUBJECTS[0], POSES[0]), make_sample(SUBJECTS[0], POSES[1])
    for pair, message in (
        ((first, replace(second, bone=None)), "has no bone image"),
        ((replace(first, bone=None), second), "has a bone image"),
        ((replace(first, bone=None, tissue=None), second), "neither a bone nor a tissue"),
        ((replace(first, soft_cm=first.bone), second), "soft_cm alone"),
    ):
        with pytest.raises(DataError, match=message):
            write_samples(tmp_path / "cohort", iter(pair), split)


def test_a_path_length_beyond_float16_is_refused(tmp_path: Path, split: Split) -> None:
    huge = np.full((24, 24), 61_000, dtype=np.float32)
    with pytest.raises(DataError, match="holds 61000 cm; path lengths are at most 60000"):
        write_samples(tmp_path / "cohort", given_samples(bone=huge), split)


def test_tumours_and_names_come_back(tmp_path: Path, split: Split) -> None:
    tumour = Tumour(centre_mm=(1.5, -20.0, 3.0), diameter_mm=12.0, row_px=7.25, column_px=9.0)
    dataset = write_samples(tmp_path / "t", given_samples(tumour=tumour, name="a.png"), split)
    info = open_dataset(dataset.path).manifest.images["train"][0]
    assert (info.tumour, info.name) == (tumour, "a.png")
    assert info.label == f"{info.subject} a.png"
    plain = write_samples(tmp_path / "p", given_samples(), split)
    assert plain.manifest.digest != dataset.manifest.digest


def test_images_of_one_pose_are_told_apart_by_their_names(tmp_path: Path, split: Split) -> None:
    twice = [
        replace(sample, name=name) for sample in given_samples() for name in ("a.png", "b.png")
    ]
    dataset = write_samples(tmp_path / "cohort", iter(twice), split)
    assert dataset.manifest.n_images == len(twice)


def test_views_without_enough_body_are_left_out_and_counted(tmp_path: Path, split: Split) -> None:
    thin = np.zeros((24, 24), dtype=bool)
    thin[7:17] = True
    given = [*given_samples()]
    given[1] = replace(given[1], mask=thin)
    given[5] = replace(given[5], mask=np.zeros_like(thin))
    dataset = write_samples(tmp_path / "few", iter(given), split, leave_out_unusable=True)
    assert dataset.manifest.left_out == {"guard_band": 0, "unusable": 2}
    assert dataset.manifest.n_images == len(given) - 2


def test_views_in_a_guard_band_are_counted(tmp_path: Path) -> None:
    subsets = ("train", "validation", "holdout")
    places = dict(zip(SUBJECTS, subsets, strict=False))
    poses = {pose: places.get(SUBJECTS[index]) for index, pose in enumerate(POSES)}
    split = Split(rule="by hand", by_pose={**poses, (0.0, 0.0, 60.0): None})  # type: ignore[dict-item]
    views = [make_sample(SUBJECTS[0], pose) for pose in (*POSES, (0.0, 0.0, 60.0))]
    dataset = write_samples(tmp_path / "one", iter(views), split)
    assert dataset.manifest.left_out == {"guard_band": 1, "unusable": 0}


def test_the_request_of_a_half_written_dataset_can_be_read(tmp_path: Path, split: Split) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cohort", ending_after(1, KeyboardInterrupt()), split)
    request = json.loads((tmp_path / "cohort.partial" / ".writing" / "request").read_text())
    assert request["origin"]["source"] == {"seed": 0}
