"""The constants of a dataset."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dexsearch.data.splits import Split
from dexsearch.data.store import Dataset, Sample, write_dataset
from tests.data.conftest import UNITS, samples


def noisy(factor: float) -> Iterator[Sample]:
    """Targets with one wild pixel in each image, beside the clean path lengths."""
    for sample in samples():
        bone = sample.bone.copy()  # type: ignore[union-attr]
        bone[10:12, 11:13] *= factor
        yield replace(sample, bone=bone, soft_cm=sample.tissue, bone_cm=sample.bone)


def write(path: Path, given: Iterator[Sample], split: Split, units: Mapping[str, str]) -> Dataset:
    return write_dataset(path, given, split, kind="ct", pixel_mm=None, units=units, source={})


def test_outliers_of_noisy_targets_in_cm_do_not_set_their_range(
    tmp_path: Path, split: Split, dataset: Dataset
) -> None:
    ranges = write(tmp_path / "noisy", noisy(-50), split, UNITS).manifest.data_ranges
    assert ranges == dataset.manifest.data_ranges


def test_a_target_of_another_unit_has_its_own_range(tmp_path: Path, split: Split) -> None:
    clean = write(tmp_path / "clean", noisy(1), split, {**UNITS, "bone": "log"}).manifest
    wild = write(tmp_path / "wild", noisy(-50), split, {**UNITS, "bone": "log"}).manifest
    assert wild.data_ranges["bone"] > 5 * clean.data_ranges["bone"]
    assert wild.data_ranges["tissue"] == pytest.approx(clean.data_ranges["tissue"])
