"""What an interrupted dataset may be continued with, and what is noticed when it is not that."""

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dexsearch import __version__
from dexsearch.data.splits import Split
from dexsearch.data.store import Sample
from dexsearch.errors import EnvironmentFault
from tests.data.conftest import (
    N_IMAGES,
    POSES,
    batches_from,
    contents,
    ending_after,
    write_batches,
)


def test_the_leftovers_of_another_request_are_replaced(tmp_path: Path, split: Split) -> None:
    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        write_batches(path, ending_after(3, KeyboardInterrupt()), split, seed=1)
    asked: list[int] = []

    def first(n_done: int) -> Iterator[Sequence[Sample]]:
        asked.append(n_done)
        return batches_from(n_done)

    assert write_batches(path, first, split, seed=2).manifest.source == {"seed": 2}
    assert asked == [0]


def made_by(projector: str) -> dict[str, object]:
    return {"made_with": {"projector": projector}}


@pytest.mark.parametrize(("second", "n_asked"), [("fast", 3), ("torch", 0)])
def test_a_dataset_is_continued_only_by_what_began_it(
    tmp_path: Path, split: Split, second: str, n_asked: int
) -> None:
    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        write_batches(path, ending_after(3, KeyboardInterrupt()), split, **made_by("fast"))
    asked: list[int] = []

    def later(n_done: int) -> Iterator[Sequence[Sample]]:
        asked.append(n_done)
        return batches_from(n_done)

    manifest = write_batches(path, later, split, **made_by(second)).manifest
    assert asked == [n_asked]
    assert manifest.made_with == {"dexsearch": __version__, "projector": second}


def test_a_finished_dataset_is_returned_whatever_made_it(tmp_path: Path, split: Split) -> None:
    first = write_batches(tmp_path / "cohort", batches_from, split, **made_by("fast"))
    assert write_batches(tmp_path / "cohort", batches_from, split, **made_by("torch")) == first


def test_a_lost_part_is_noticed_and_the_next_run_starts_anew(
    tmp_path: Path, split: Split, whole: dict[str, bytes]
) -> None:
    def losing(n_done: int) -> Iterator[Sequence[Sample]]:
        yield from (batch for number, batch in enumerate(batches_from(n_done)) if number != 2)

    path, expected = tmp_path / "cohort", f"{N_IMAGES - len(POSES)} of {N_IMAGES} images arrived"
    with pytest.raises(EnvironmentFault, match=expected) as hit:
        write_batches(path, losing, split, n_expected=N_IMAGES)
    assert "anew" in (hit.value.hint or "")
    assert contents(write_batches(path, batches_from, split, n_expected=N_IMAGES).path) == whole


def test_an_image_that_an_interrupted_run_has_written_does_not_come_again(
    tmp_path: Path, split: Split, whole: dict[str, bytes]
) -> None:
    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        write_batches(path, ending_after(3, KeyboardInterrupt()), split)
    with pytest.raises(EnvironmentFault, match="arrives again, written by an interrupted run"):
        write_batches(path, lambda n_done: batches_from(0), split)
    assert contents(write_batches(path, batches_from, split).path) == whole


def test_a_source_that_cannot_be_read_is_told_from_a_refusing_disk(
    tmp_path: Path, split: Split, whole: dict[str, bytes]
) -> None:
    gone = FileNotFoundError(errno.ENOENT, "No such file or directory", "ct/chest.nii")
    with pytest.raises(EnvironmentFault, match=r"cannot make the images: .*ct/chest\.nii") as hit:
        write_batches(tmp_path / "cohort", ending_after(3, gone), split)
    assert "can be read" in (hit.value.hint or "")
    assert contents(write_batches(tmp_path / "cohort", batches_from, split).path) == whole
