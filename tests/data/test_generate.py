"""Phantom cohorts and CTs become datasets that follow from their seed."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from dexsearch.config.data import CtDataConfig, PhantomDataConfig, checked
from dexsearch.data.generate import generate_ct, generate_phantom
from dexsearch.data.rendering import RenderTask
from dexsearch.data.samples import Sample
from dexsearch.data.store import Dataset, open_dataset
from dexsearch.data.workers import map_in_processes
from dexsearch.errors import ConfigurationError, DataError
from dexsearch.physics.detector import log_projections
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector
from dexsearch.training.baselines import baselines

REPOSITORY = Path(__file__).parents[2]
SHARED = Path(os.environ.get("DEXSEARCH_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
REAL = SHARED / "ct" / "cptac_pda_c3n00249_chest_ct_3mm.nii.gz"
SMALL = PhantomDataConfig(subjects=3, poses=3, size_px=32, seed=7)

Render = Callable[[RenderTask], list[Sample]]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("cohort") / "dataset"
    return generate_phantom(path, SMALL, map_tasks=map)


def refuse(*_: object) -> list[list[Sample]]:
    raise AssertionError("nothing is to be made")


def like(config: PhantomDataConfig, **changes: object) -> PhantomDataConfig:
    return checked(PhantomDataConfig, {**config.model_dump(exclude_unset=True), **changes})


def test_a_cohort_has_every_subject_in_one_subset(cohort: Dataset) -> None:
    images = cohort.manifest.images
    assert {subset: len(infos) for subset, infos in images.items()} == {
        "train": 3,
        "validation": 3,
        "holdout": 3,
    }
    subjects = [{info.subject for info in infos} for infos in images.values()]
    assert len(set.union(*subjects)) == 3


def test_the_input_is_the_exposure_of_the_targets(cohort: Dataset) -> None:
    assert cohort.manifest.pixel_mm == pytest.approx(360 / 32)
    lengths = cohort.path_lengths("train")
    assert lengths is not None
    arrays = cohort.arrays("train")
    soft, bone = (torch.from_numpy(np.array(part, dtype=np.float32)) for part in lengths)
    clean = log_projections(
        soft, bone, Exposure(), detector=Detector(32, 360 / 32), rays_per_pixel=1, rng=None
    )
    edges = cohort.edges("train")
    assert edges is not None
    assert edges.min() > -1e-3, "edges within a pixel let more through"
    noise = (np.array(arrays.input) - (clean.numpy() - edges.astype(np.float32)))[arrays.mask]
    assert 1e-4 < np.median(np.abs(noise)) < 0.03
    assert abs(noise.mean()) < 1e-3


def test_the_tumour_is_where_the_manifest_says(tmp_path: Path) -> None:
    dataset = generate_phantom(tmp_path / "d", like(SMALL, size_px=64), map_tasks=map)
    for info in dataset.manifest.images["train"]:
        tumour = info.tumour
        assert tumour is not None
        assert 5 <= tumour.diameter_mm <= 30
        assert 0 <= tumour.row_px < 64
        assert 0 <= tumour.column_px < 64
    frontal = min(dataset.manifest.images["train"], key=lambda info: sum(map(abs, info.pose_deg)))
    assert frontal.tumour is not None
    assert (frontal.tumour.column_px > 31.5) == (frontal.tumour.centre_mm[2] > 0)


@pytest.mark.slow
def test_processes_and_this_process_make_the_same_bytes(cohort: Dataset, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    again = generate_phantom(
        tmp_path / "again",
        SMALL,
        map_tasks=lambda f, tasks: map_in_processes(f, tasks, n_workers=2),
        progress=lambda n_done, n_all: done.append((n_done, n_all)),
    )
    assert again.manifest.digest == cohort.manifest.digest
    assert done == [(0, 9), (3, 9), (6, 9), (9, 9)]


def test_the_bytes_do_not_depend_on_the_threads(cohort: Dataset, tmp_path: Path) -> None:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = generate_phantom(tmp_path / "again", SMALL, map_tasks=map)
    finally:
        torch.set_num_threads(n_threads)
    assert again.manifest.digest == cohort.manifest.digest


def test_another_seed_makes_another_cohort(cohort: Dataset, tmp_path: Path) -> None:
    other = generate_phantom(tmp_path / "other", like(SMALL, seed=8), map_tasks=map)
    assert other.manifest.digest != cohort.manifest.digest


def test_the_same_request_is_not_made_twice(cohort: Dataset) -> None:
    generate_phantom(cohort.path, SMALL, map_tasks=refuse)
    with pytest.raises(DataError, match="already holds a dataset with poses 3, asked for 4"):
        generate_phantom(cohort.path, like(SMALL, poses=4), map_tasks=refuse)


def test_an_interrupted_cohort_continues_with_the_subjects_that_are_missing(
    cohort: Dataset, tmp_path: Path
) -> None:
    rendered: list[int] = []

    def until_the_second(function: Render, tasks: Sequence[RenderTask]) -> Iterator[list[Sample]]:
        yield function(tasks[0])
        raise KeyboardInterrupt

    def the_rest(function: Render, tasks: Sequence[RenderTask]) -> Iterator[list[Sample]]:
        rendered.append(len(tasks))
        yield from map(function, tasks)

    path = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        generate_phantom(path, SMALL, map_tasks=until_the_second)
    assert not path.exists()
    again = generate_phantom(path, SMALL, map_tasks=the_rest)
    assert rendered == [2]
    assert again.manifest.digest == cohort.manifest.digest


def test_targets_of_weighted_subtraction_keep_the_path_lengths_beside_them(
    cohort: Dataset, tmp_path: Path
) -> None:
    wls = generate_phantom(tmp_path / "wls", like(SMALL, targets="wls"), map_tasks=map)
    theirs, ours = wls.path_lengths("train"), cohort.path_lengths("train")
    assert theirs is not None
    assert ours is not None
    assert all(np.array_equal(a, b) for a, b in zip(theirs, ours, strict=True))
    arrays = wls.arrays("train")
    assert np.array_equal(arrays.input, cohort.arrays("train").input)
    bone_cm = ours[1].astype(np.float32)[arrays.mask]
    assert np.corrcoef(arrays.bone[arrays.mask], bone_cm)[0, 1] > 0.9
    assert wls.manifest.units["bone"] == "w_s p_low - p_high"


def test_noisy_basis_targets_scatter_about_the_thickness(cohort: Dataset, tmp_path: Path) -> None:
    config = like(SMALL, target_dose_mas=50.0)
    noisy = generate_phantom(tmp_path / "noisy", config, map_tasks=map)
    lengths = cohort.path_lengths("train")
    assert lengths is not None
    mask = noisy.arrays("train").mask[:]
    for target, clean in (("tissue", lengths[0]), ("bone", lengths[1])):
        error = noisy.arrays("train").target(target) - clean.astype(np.float32)
        assert 1e-4 < np.abs(np.median(error[mask])) + np.std(error[mask]) < 0.3


def test_the_recipe_of_xray_gan_makes_input_and_targets(tmp_path: Path) -> None:
    config = PhantomDataConfig(preset="cirs-like", poses=40, size_px=48, targets="xray-gan")
    dataset = generate_phantom(tmp_path / "recipe", config, map_tasks=map)
    assert dataset.path_lengths("train") is None
    assert "exposure" not in dataset.manifest.source
    arrays = dataset.arrays("train")
    body, air = arrays.input[arrays.mask].mean(), arrays.input[~arrays.mask].mean()
    assert body < air, "its images are dark where the body is dense"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kvp": 40.0}, "kvp: got 40.0"),
        ({"dose_mas": 0.0}, "--dose: got 0.0"),
        ({"pair_kvp": (120.0, 60.0)}, "the lower one"),
        ({"subjects": 2}, "at least 3"),
        ({"preset": "cirs-like"}, "one body"),
        ({"targets": "xray-gan", "target_dose_mas": 1.0}, "no meaning for targets xray-gan"),
        ({"targets": "xray-gan", "geometry": "cone"}, "no meaning for targets xray-gan"),
        ({"targets": "xray-gan", "kvp": 80.0}, "no meaning for targets xray-gan"),
        ({"dose_mas": 1e30}, "--dose: got 1e\\+30"),
        ({"scatter": -1.0}, "--scatter: got -1.0"),
        ({"filters_mm": {"copper": 1000.0}}, "--filter: got 1000.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        like(SMALL, **settings)


def test_settings_that_make_other_images_make_other_folders() -> None:
    plain = PhantomDataConfig()
    assert plain.folder_name == "phantom-32x40-64px-seed0"
    names = {
        like(plain, **change).folder_name for change in ({}, {"kvp": 80.0}, {"dose_mas": 1.0})
    }
    assert len(names) == 3


def test_the_plastic_phantom_is_one_body_however_often_it_is_validated() -> None:
    cirs = PhantomDataConfig(preset="cirs-like")
    assert cirs.subjects == 1
    assert PhantomDataConfig.model_validate(cirs.model_dump()) == cirs


def write_ct(path: Path, values: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(values.T, np.diag([8.0, 8.0, 8.0, 1.0])), path)
    return path


@pytest.fixture
def small_ct(tmp_path: Path) -> Path:
    z, y, x = np.mgrid[:32, :32, :32] - 15.5
    body = (y / 12) ** 2 + (x / 14) ** 2 < 1
    spine = (y - 5) ** 2 + x**2 < 4
    values = np.where(spine, 600, np.where(body, 40 + z, -1000)).astype(np.int16)
    return write_ct(tmp_path / "small.nii", values)


def test_files_of_one_name_are_told_apart_by_their_folders(small_ct: Path, tmp_path: Path) -> None:
    hu = np.asarray(nibabel.load(small_ct).dataobj)
    paths = []
    for patient, brighter in enumerate((0, 3, 7)):
        (tmp_path / f"p{patient}").mkdir()
        paths.append(write_ct(tmp_path / f"p{patient}" / "ct.nii", hu.T + np.int16(brighter)))
    config = CtDataConfig(poses=2, size_px=32)
    dataset = generate_ct(tmp_path / "out", paths, config, map_tasks=map)
    subjects = [dataset.manifest.subjects(part)[0] for part in ("train", "validation", "holdout")]
    assert sorted(subjects) == ["p0-ct", "p1-ct", "p2-ct"]


def test_one_ct_is_not_two_patients(tmp_path: Path) -> None:
    values = np.arange(-1000, -488, dtype=np.int16).reshape(8, 8, 8)
    ann = write_ct(tmp_path / "ann.nii.gz", values)
    bob = write_ct(tmp_path / "bob.nii", values)
    with pytest.raises(DataError, match=r"ann\.nii\.gz and .*bob\.nii are the same CT"):
        generate_ct(tmp_path / "out", [ann, bob], CtDataConfig())


def test_parity_and_the_projector_see_the_same_body(small_ct: Path, tmp_path: Path) -> None:
    makes = {
        parity: generate_ct(
            tmp_path / f"{parity}",
            [small_ct],
            CtDataConfig(poses=24, size_px=32, parity=parity),
            map_tasks=map,
        )
        for parity in (False, True)
    }
    ours, theirs = (makes[parity].arrays("train") for parity in (False, True))
    both = ours.mask & theirs.mask
    error = (ours.tissue.astype(np.float32) - theirs.tissue.astype(np.float32))[both]
    assert np.sqrt(np.mean(error**2)) < 0.03 * ours.tissue[both].astype(np.float32).mean()


def test_a_split_file_decides(cohort: Dataset, tmp_path: Path) -> None:
    names = sorted(info.subject for infos in cohort.manifest.images.values() for info in infos)
    chosen = sorted(set(names))
    split = {"train": [chosen[2]], "validation": [chosen[0]], "holdout": [chosen[1]]}
    file = tmp_path / "split.json"
    file.write_text(json.dumps(split))
    made = generate_phantom(tmp_path / "fixed", SMALL, split_file=file, map_tasks=map)
    assert {part: list(made.manifest.subjects(part)) for part in split} == split


def test_views_are_cut_into_tasks_that_fit_into_memory(tmp_path: Path) -> None:
    sizes: list[list[int]] = []

    def count(function: Render, tasks: Sequence[RenderTask]) -> Iterator[list[Sample]]:
        sizes.append([len(task.poses_deg) for task in tasks])
        raise KeyboardInterrupt

    for size_px in (64, 1024):
        with pytest.raises(KeyboardInterrupt):
            generate_phantom(
                tmp_path / str(size_px), like(SMALL, poses=130, size_px=size_px), map_tasks=count
            )
    assert sizes[0] == [60, 60, 10] * 3
    assert max(sizes[1]) * 1024**2 <= 60 * 256**2


@pytest.mark.slow
def test_the_nearest_pose_of_another_body_is_no_answer_for_bone(tmp_path: Path) -> None:
    config = PhantomDataConfig(subjects=10, poses=8, size_px=64, seed=3)
    scores = baselines(generate_phantom(tmp_path / "cohort", config))
    assert scores.nearest_pose["bone"] < 0.8
    assert scores.nearest_pose["bone"] > scores.constant["bone"]


@pytest.mark.skipif(not REAL.is_file(), reason=f"no CT at {REAL}")
def test_a_ct_is_split_in_blocks_of_poses(tmp_path: Path) -> None:
    config = CtDataConfig(poses=36, size_px=32)
    dataset = generate_ct(tmp_path / "ct", [REAL], config, map_tasks=map)
    turns = {
        subset: [info.pose_deg[2] for info in infos]
        for subset, infos in dataset.manifest.images.items()
    }
    assert all(len(angles) >= 4 for angles in turns.values())
    assert min(turns["validation"]) - max(turns["train"]) >= 15.0
    assert np.isfinite(open_dataset(dataset.path).arrays("train").input).all()
