"""What the samples are decides which arrays there are, of what type, and what is left out."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dexsearch.data.splits import Split
from dexsearch.data.store import Dataset, Sample, Tumour, open_dataset, write_dataset
from dexsearch.errors import DataError
from tests.data.conftest import POSES, SUBJECTS, UNITS, make_sample, samples


def given_samples(**changes: object) -> Iterator[Sample]:
    for sample in samples():
        yield replace(sample, **changes)  # type: ignore[arg-type]


def write_samples(path: Path, given: Iterator[Sample], split: Split, **options: object) -> Dataset:
    chosen = {"units": UNITS, **options}
    return write_dataset(path, given, split, kind="ct", pixel_mm=None, source={}, **chosen)  # type: ignore[arg-type]


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
    given = given_samples(soft_cm=lengths, bone_cm=lengths / 8)
    units = {"input": "log", "bone": "log", "tissue": "log"}
    dataset = write_samples(tmp_path / "wls", given, split, units=units)
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


def test_edges_are_stored_as_float16_where_the_samples_have_them(
    tmp_path: Path, split: Split
) -> None:
    edges = np.linspace(0, 0.3, 24 * 24, dtype=np.float32).reshape(24, 24)
    dataset = write_samples(tmp_path / "edges", given_samples(edges=edges), split)
    found = dataset.edges("train")
    assert found is not None
    assert found.dtype == np.float16
    assert dataset.manifest.arrays["edges"] == "float16"
    assert np.array_equal(found[0], edges.astype(np.float16))
    plain = write_samples(tmp_path / "plain", given_samples(), split)
    assert plain.edges("train") is None


def test_another_edge_is_another_dataset(tmp_path: Path, split: Split) -> None:
    edges = np.zeros((24, 24), dtype=np.float32)
    first = write_samples(tmp_path / "a", given_samples(edges=edges), split)
    edges[12, 12] = 0.01
    second = write_samples(tmp_path / "b", given_samples(edges=edges), split)
    assert first.manifest.digest != second.manifest.digest
