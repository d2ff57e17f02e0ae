"""A small dataset of smooth random images, quick to write."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from dexsearch.data.splits import Split, split_subjects
from dexsearch.data.store import Dataset, Sample, write_dataset

SUBJECTS = tuple(f"subject-{index}" for index in range(5))
POSES = tuple((0.0, 0.0, float(z)) for z in (0, 45, 90))
UNITS = {"input": "log", "bone": "cm", "tissue": "cm"}


def make_sample(subject: str, pose: tuple[float, float, float], size_px: int = 24) -> Sample:
    seed = abs(hash((int(subject.rsplit("-")[-1]), int(pose[2]), size_px)))
    rng = np.random.default_rng(seed % 2**32)
    rows, columns = np.mgrid[0:size_px, 0:size_px] / size_px
    bone = np.sin(9 * rows + rng.uniform(0, 6)) * np.cos(7 * columns + rng.uniform(0, 6)) + 1
    tissue = 10 + 4 * np.cos(3 * rows + rng.uniform(0, 6)) + columns
    mask = (rows - 0.5) ** 2 + (columns - 0.5) ** 2 < 0.2
    image = 0.2 * tissue + 0.5 * bone + rng.normal(0, 0.01, mask.shape)
    return Sample(
        subject=subject,
        pose_deg=pose,
        input=image.astype(np.float32),
        bone=bone.astype(np.float32),
        tissue=tissue.astype(np.float32),
        mask=mask,
    )


def samples() -> Iterator[Sample]:
    for subject in SUBJECTS:
        for pose in POSES:
            yield make_sample(subject, pose)


@pytest.fixture
def split() -> Split:
    return split_subjects(SUBJECTS, seed=0)


@pytest.fixture
def write(tmp_path: Path, split: Split) -> Callable[..., Dataset]:
    def write_samples(
        given: object = None, *, path: Path = tmp_path / "cohort", seed: int = 0
    ) -> Dataset:
        return write_dataset(
            path,
            samples() if given is None else given,  # type: ignore[arg-type]
            split,
            kind="phantom",
            pixel_mm=2.0,
            units=UNITS,
            source={"seed": seed, "kvp": (60.0, 120.0)},
        )

    return write_samples


@pytest.fixture
def dataset(write: Callable[..., Dataset]) -> Dataset:
    return write()


Batches = Callable[[int], Iterator[Sequence[Sample]]]


def batches_from(n_done: int) -> Iterator[Sequence[Sample]]:
    """One batch per subject; the first and the fourth are empty."""
    done = [[make_sample(subject, pose) for pose in POSES] for subject in SUBJECTS]
    yield from [[], *done[:2], [], *done[2:]][n_done:]


N_BATCHES = len(SUBJECTS) + 2
N_IMAGES = len(SUBJECTS) * len(POSES)


def write_batches(
    path: Path, batches: Batches, split: Split, seed: int = 0, **options: object
) -> Dataset:
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
    """Return the bytes of every file."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def whole(tmp_path: Path, split: Split) -> dict[str, bytes]:
    return contents(write_batches(tmp_path / "whole", batches_from, split).path)
