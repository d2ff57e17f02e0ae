"""Volumes and poses to a dataset folder: phantom cohorts and CTs.

Each view: path lengths of soft tissue and cortical bone, an exposure (the input), targets, and the
body mask. Everything follows from the seed: image by image the result does not depend on the
number of processes. Processors with other instructions, and the two projectors, may round
differently in the last digit, so another machine gets a copy of the folder, not the seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dexsearch.config.data import CtDataConfig, ImagingConfig, PhantomDataConfig
from dexsearch.data.rendering import MapTasks, ProgressCallback, RenderTask, rendered
from dexsearch.data.samples import Sample
from dexsearch.data.split_file import read_split_file
from dexsearch.data.splits import Split, split_poses, split_subjects
from dexsearch.data.store import Dataset, write_dataset
from dexsearch.data.views import UNITS, Imaging
from dexsearch.data.volume_sources import CirsSource, CtSource, PhantomSource
from dexsearch.data.workers import map_in_processes
from dexsearch.errors import ConfigurationError, DataError
from dexsearch.physics.geometry import Pose
from dexsearch.physics.poses import cohort_poses, sweep_poses, xray_gan_poses
from dexsearch.volumes.ct import ct_extent_mm, ct_kvp, ct_name, ct_sha256
from dexsearch.volumes.phantom import phantom_voxel_mm

THORAX_FIELD_MM = 360.0
CIRS_FIELD_MM = 320.0
CIRS_NAME = "cirs-like"
POSES_PER_TASK = 20
DEFAULT_CT_KVP = 120.0


def generate_phantom(
    path: Path,
    config: PhantomDataConfig,
    *,
    split_file: Path | None = None,
    map_tasks: MapTasks = map_in_processes,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Make a cohort of procedural subjects, split by subject; or the one plastic phantom.

    Args:
        path: the dataset folder to write; an identical one that is there is returned, and one
            that was interrupted continues.
        config: anatomies, views, exposure and targets.
        split_file: fixes the subsets, see `split_file`; None: by subject at random, or in blocks
            of poses for the plastic phantom.
        map_tasks: how tasks are spread over processes or machines.
        progress: told after every batch of images.

    Raises:
        ConfigurationError: on settings outside their range.
        DataError: on another dataset at `path`, or a split file that does not fit.
    """
    is_cirs = config.preset == "cirs-like"
    imaging = _imaging(config, CIRS_FIELD_MM if is_cirs else THORAX_FIELD_MM)
    voxel_mm = phantom_voxel_mm(imaging.detector.pixel_mm)
    if is_cirs:
        poses = _one_volume_poses(config.poses, config.seed)
        sources: list[CirsSource | PhantomSource] = [CirsSource(voxel_mm)]
        names, poses_of = [CIRS_NAME], [poses]
    else:
        indices = range(config.subjects)
        sources = [PhantomSource(config.seed, index, voxel_mm) for index in indices]
        names = [f"phantom-{config.seed}-{index:04d}" for index in indices]
        poses_of = [_cohort_poses(config.poses, config.seed, index) for index in indices]
    tasks = [
        RenderTask(source, part, imaging, (config.seed, 0))
        for source, poses in zip(sources, poses_of, strict=True)
        for part in _parts(poses, len(poses) if not is_cirs else POSES_PER_TASK)
    ]
    return _write(
        path,
        tasks,
        _split(names, poses_of[0], seed=config.seed, split_file=split_file),
        kind="phantom",
        source={**config.model_dump(mode="json"), "voxel_mm": voxel_mm},
        map_tasks=map_tasks,
        progress=progress,
    )


def generate_ct(
    path: Path,
    sources: Sequence[Path],
    config: CtDataConfig,
    *,
    bone_mask: Path | None = None,
    split_file: Path | None = None,
    map_tasks: MapTasks = map_in_processes,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Make a dataset from CTs: split by subject from three patients on, else in blocks of poses.

    Args:
        path: the dataset folder to write; an identical one that is there is returned, and one
            that was interrupted continues.
        sources: DICOM folders or volume files in Hounsfield units; each of another patient,
            unless the configuration says `same_patient`.
        config: views, exposure and targets.
        bone_mask: a volume of 0 and 1 outside of which nothing is bone; for one patient.
        split_file: fixes the subsets, see `split_file`.
        map_tasks: how tasks are spread over processes or machines.
        progress: told after every batch of images.

    Raises:
        ConfigurationError: on settings outside their range, or that do not fit the CTs.
        DataError: on a file that is not a CT in HU, one CT given twice, or another dataset at
            `path`.
    """
    names = [ct_name(source) for source in sources]
    if not names or len(set(names)) < len(names):
        raise DataError(f"got the CTs {names}; expected one or more with different names")
    kvps = _tube_voltages(sources, config.ct_kvp)
    files = _hashes(names, sources)
    imaging = _imaging(config, max(side for source in sources for side in ct_extent_mm(source)))
    voxel_mm = phantom_voxel_mm(imaging.detector.pixel_mm)
    patients = [sources] if config.same_patient else [[source] for source in sources]
    if bone_mask is not None and len(patients) > 1:
        raise ConfigurationError(
            f"got one bone mask for {len(patients)} patients; make a dataset of each, or leave "
            "--bone-mask out"
        )
    poses = _one_volume_poses(config.poses, config.seed)
    voltages = iter(kvps)
    tasks = [
        RenderTask(source, part, imaging, (config.seed, 0), config.parity)
        for source in [
            CtSource(
                tuple(file.resolve() for file in patient),
                tuple(next(voltages) for _ in patient),
                voxel_mm,
                bone_mask.resolve() if bone_mask else None,
            )
            for patient in patients
        ]
        for part in _parts(poses, POSES_PER_TASK)
    ]
    subjects = [names[0]] if config.same_patient else names
    masked = {"bone_mask": ct_sha256(bone_mask)} if bone_mask else {}
    return _write(
        path,
        tasks,
        _split(subjects, poses, seed=config.seed, split_file=split_file),
        kind="ct",
        source={
            **config.model_dump(mode="json"),
            "files": files,
            "ct_kvp": kvps,
            "voxel_mm": voxel_mm,
            **masked,
        },
        map_tasks=map_tasks,
        progress=progress,
    )


def _imaging(config: ImagingConfig, field_mm: float) -> Imaging:
    try:
        return Imaging.of(config, field_mm=field_mm)
    except ValueError as error:  # what physics refuses is a flag to change
        raise ConfigurationError(str(error)) from None


def _cohort_poses(asked: int | str, seed: int, index: int) -> tuple[Pose, ...]:
    if isinstance(asked, str):
        return xray_gan_poses()
    return cohort_poses(asked, np.random.default_rng([seed, index, 3]))


def _one_volume_poses(asked: int | str, seed: int) -> tuple[Pose, ...]:
    if isinstance(asked, str):
        return xray_gan_poses()
    return sweep_poses(asked, np.random.default_rng([seed, 4]))


def _parts(poses: tuple[Pose, ...], size: int) -> Iterator[tuple[Pose, ...]]:
    for first in range(0, len(poses), size):
        yield poses[first : first + size]


def _split(
    names: Sequence[str], poses: tuple[Pose, ...], *, seed: int, split_file: Path | None
) -> Split:
    if split_file is not None:
        return read_split_file(split_file, subjects=names, poses=poses)
    return split_subjects(names, seed=seed) if len(names) >= 3 else split_poses(poses)


def _tube_voltages(sources: Sequence[Path], given: tuple[float, ...]) -> tuple[float, ...]:
    """Return the tube voltage of each CT: as given, else as its DICOM files say, else 120.

    Raises:
        ConfigurationError: if their number does not fit, or DICOM says something else.
    """
    if len(given) not in (0, 1, len(sources)):
        raise ConfigurationError(
            f"got {len(given)} tube voltages for {len(sources)} CTs; give one for all, or one each"
        )
    asked = given if len(given) == len(sources) else given * len(sources)
    found = [ct_kvp(source) for source in sources]
    for index, voltage in enumerate(asked):
        stored = found[index]
        if stored is not None and stored != voltage:
            raise ConfigurationError(
                f"{sources[index]} was taken at {stored:g} kV, and --ct-kvp says {voltage:g}; "
                "leave the flag out"
            )
    return asked or tuple(stored or DEFAULT_CT_KVP for stored in found)


def _write(
    path: Path,
    tasks: Sequence[RenderTask],
    split: Split,
    *,
    kind: str,
    source: Mapping[str, Any],
    map_tasks: MapTasks,
    progress: ProgressCallback | None,
) -> Dataset:
    imaging = tasks[0].imaging
    exposure = {} if imaging.targets == "xray-gan" else {"exposure": asdict(imaging.exposure)}

    def batches(n_done: int) -> Iterator[list[Sample]]:
        # Closing ends the workers at once when writing fails or is interrupted.
        with closing(rendered(tasks, map_tasks, progress, n_done=n_done)) as samples:
            yield from samples

    return write_dataset(
        path,
        batches,
        split,
        kind=kind,
        pixel_mm=imaging.detector.pixel_mm,
        units=UNITS[imaging.targets],
        source={**source, **exposure, "detector": asdict(imaging.detector)},
        leave_out_unusable=True,
    )


def _hashes(names: Sequence[str], sources: Sequence[Path]) -> dict[str, str]:
    """Return the sha256 of each CT by name; refuse one CT given twice."""
    first: dict[str, Path] = {}
    for source in sources:
        sha256 = ct_sha256(source)
        if sha256 in first:
            raise DataError(
                f"{first[sha256]} and {source} are the same CT, given twice",
                hint="give each CT once",
            )
        first[sha256] = source
    return dict(zip(names, first, strict=True))
