"""Volumes and poses to a dataset folder: phantom cohorts and CTs.

Each view: path lengths of soft tissue and cortical bone, an exposure (the input), targets, and the
body mask. Everything follows from the seed: image by image the result depends neither on the
number of processes nor on interruptions. Processors with other instructions, and the two
projectors, may round differently in the last digit, so another machine gets a copy of the folder,
not the seed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dexsearch.config.data import CtDataConfig, ImagingConfig, PhantomDataConfig
from dexsearch.data.ct_files import read_ct_files
from dexsearch.data.rendering import MapTasks, ProgressCallback, RenderTask, rendered
from dexsearch.data.samples import Sample
from dexsearch.data.split_file import read_split_file
from dexsearch.data.splits import Split, split_poses, split_subjects
from dexsearch.data.store import Dataset, write_dataset
from dexsearch.data.views import UNITS, Imaging
from dexsearch.data.volume_sources import CirsSource, PhantomSource, VolumeSource
from dexsearch.data.workers import map_in_processes
from dexsearch.errors import ConfigurationError
from dexsearch.physics.geometry import Pose
from dexsearch.physics.poses import cohort_poses, sweep_poses, xray_gan_poses
from dexsearch.physics.projection import automatic_kind
from dexsearch.volumes.ct import ct_sha256
from dexsearch.volumes.phantom import phantom_voxel_mm

THORAX_FIELD_MM = 360.0
"""About the width of a chest film."""
CIRS_FIELD_MM = 320.0
CIRS_NAME = "cirs-like"
MOST_VIEWS_PER_TASK = {"phantom": 60, "ct": 20}
"""A volume is loaded once by every process that gets one of its tasks: cheap for a CT that all of
them keep, not for a subject that only one of them needs."""
MOST_PIXELS_PER_TASK = 60 * 256**2
"""Bounds what waits in memory to be written."""

Tell = Callable[[str], None]


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
    views: list[tuple[VolumeSource, tuple[Pose, ...]]]
    if is_cirs:
        names = [CIRS_NAME]
        views = [(CirsSource(voxel_mm), _one_volume_poses(config.poses, config.seed))]
    else:
        indices = range(config.subjects)
        names = [f"phantom-{config.seed}-{index:04d}" for index in indices]
        views = [
            (
                PhantomSource(config.seed, index, voxel_mm),
                _cohort_poses(config.poses, config.seed, index),
            )
            for index in indices
        ]
    return _write(
        path,
        _tasks(views, imaging, kind="phantom", seed=config.seed),
        _split(names, views[0][1], seed=config.seed, split_file=split_file),
        kind="phantom",
        source={**config.as_source(), "voxel_mm": voxel_mm},
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
    tell: Tell | None = None,
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
        tell: is given what the user should know, one line each.
        map_tasks: how tasks are spread over processes or machines.
        progress: told after every batch of images.

    Raises:
        ConfigurationError: on settings outside their range, or that do not fit the CTs.
        DataError: on a file that is not a CT in HU, one CT given twice, patients mixed up, or
            another dataset at `path`.
    """
    files = read_ct_files(sources, config, bone_mask=bone_mask)
    if tell is not None:
        for note in files.notes:
            tell(note)
    imaging = _imaging(config, files.field_mm)
    voxel_mm = phantom_voxel_mm(imaging.detector.pixel_mm)
    poses = _one_volume_poses(config.poses, config.seed)
    patients = files.sources(
        same_patient=config.same_patient, voxel_mm=voxel_mm, bone_mask=bone_mask
    )
    views = [(patient, poses) for patient in patients]
    source = {
        **config.as_source(),
        "files": dict(zip(files.names, files.sha256, strict=True)),
        "ct_kvp": files.kvp,
        "voxel_mm": voxel_mm,
    }
    return _write(
        path,
        _tasks(views, imaging, kind="ct", seed=config.seed, parity=config.parity),
        _split(files.names[: len(patients)], poses, seed=config.seed, split_file=split_file),
        kind="ct",
        source=source | ({"bone_mask": ct_sha256(bone_mask)} if bone_mask else {}),
        map_tasks=map_tasks,
        progress=progress,
    )


def _tasks(
    views: Sequence[tuple[VolumeSource, tuple[Pose, ...]]],
    imaging: Imaging,
    *,
    kind: str,
    seed: int,
    parity: bool = False,
) -> list[RenderTask]:
    """Cut the views of every volume into tasks that fit into memory."""
    fitting = max(1, MOST_PIXELS_PER_TASK // imaging.detector.size_px**2)
    size = min(MOST_VIEWS_PER_TASK[kind], fitting)
    return [
        RenderTask(source, poses[first : first + size], imaging, (seed, index), parity)
        for index, (source, poses) in enumerate(views)
        for first in range(0, len(poses), size)
    ]


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


def _split(
    names: Sequence[str], poses: tuple[Pose, ...], *, seed: int, split_file: Path | None
) -> Split:
    if split_file is not None:
        return read_split_file(split_file, subjects=names, poses=poses)
    return split_subjects(names, seed=seed) if len(names) >= 3 else split_poses(poses)


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
        n_expected=sum(len(task.poses_deg) for task in tasks),
        made_with={"projector": "parity" if tasks[0].parity else automatic_kind()},
    )
