"""Volumes and poses to a dataset folder: phantom cohorts and CTs.

Each view: path lengths of soft tissue and cortical bone (the clean targets, in cm), one noisy
exposure (the input), and the body mask. Everything follows from the seed: image by image the
result does not depend on the number of processes. Processors with other instructions may round
differently in the last digit, so another machine gets a copy of the folder, not the seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dexsearch.data.rendering import (
    CtSource,
    MapTasks,
    PhantomSource,
    ProgressCallback,
    RenderTask,
    rendered,
)
from dexsearch.data.splits import Split, split_poses, split_subjects
from dexsearch.data.store import Dataset, write_dataset
from dexsearch.data.workers import map_in_processes
from dexsearch.errors import ConfigurationError, DataError
from dexsearch.physics.attenuation import cortical_bone_hu
from dexsearch.physics.detector import Exposure
from dexsearch.physics.poses import cohort_poses, sweep_poses, xray_gan_poses
from dexsearch.physics.projection import Detector, Geometry
from dexsearch.volumes.ct import ct_extent_mm, ct_name, ct_sha256
from dexsearch.volumes.phantom import phantom_voxel_mm

PHANTOM_FIELD_MM = 320.0
POSES_PER_TASK = 20
UNITS = {"input": "-ln(I/I0)", "bone": "cm", "tissue": "cm"}


def generate_phantom(
    path: Path,
    *,
    subjects: int,
    poses: int,
    size_px: int = 64,
    seed: int = 0,
    kvp: float = 120.0,
    dose_mas: float = 0.1,
    geometry: Geometry = "parallel",
    scatter: float = 0.0,
    map_tasks: MapTasks = map_in_processes,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Make a cohort of procedural subjects, split by subject.

    Args:
        path: the dataset folder to write; an identical one that is there is returned.
        subjects: number of anatomies, at least 3.
        poses: views per subject, near-frontal and turned.
        size_px: side of the detector; its field is 320 mm at the isocentre.
        seed: decides anatomies, poses, split and noise.
        kvp: tube voltage of the input, 60..140.
        dose_mas: exposure per view.
        geometry: `parallel` or `cone`.
        scatter: scatter-to-primary ratio.
        map_tasks: how tasks are spread over processes or machines.
        progress: told after every batch of images.

    Raises:
        ConfigurationError: on settings outside their range.
        DataError: on another dataset at `path`, or fewer than 3 subjects.
    """
    exposure, detector = _equipment(
        size_px, PHANTOM_FIELD_MM, kvp=kvp, dose_mas=dose_mas, geometry=geometry, scatter=scatter
    )
    voxel_mm = phantom_voxel_mm(detector.pixel_mm)
    tasks = [
        RenderTask(
            source=PhantomSource(seed, index, voxel_mm),
            poses_deg=cohort_poses(poses, np.random.default_rng([seed, index, 3])),
            detector=detector,
            exposure=exposure,
            seed=seed,
        )
        for index in range(subjects)
    ]
    names = [f"phantom-{seed}-{index:04d}" for index in range(subjects)]
    return _write(
        path,
        tasks,
        split_subjects(names, seed=seed),
        kind="phantom",
        source={"subjects": subjects, "poses": poses, "seed": seed, "voxel_mm": voxel_mm},
        map_tasks=map_tasks,
        progress=progress,
    )


def generate_ct(
    path: Path,
    sources: Sequence[Path],
    *,
    poses: int | Literal["xray-gan"] = 60,
    size_px: int = 64,
    seed: int = 0,
    kvp: float = 120.0,
    ct_kvp: float = 120.0,
    dose_mas: float = 0.1,
    geometry: Geometry = "parallel",
    scatter: float = 0.0,
    map_tasks: MapTasks = map_in_processes,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Make a dataset from CTs: split by subject from three on, else in blocks of poses.

    Args:
        path: the dataset folder to write; an identical one that is there is returned.
        sources: NIfTI files in Hounsfield units, each of another patient.
        poses: number of turns over 0..175 degrees, or `xray-gan`: the grid of 900 poses.
        size_px: side of the detector; its field is the longest side of the largest CT.
        seed: decides small tilts, split and noise.
        kvp: tube voltage of the input, 60..140.
        ct_kvp: tube voltage of the CTs, 60..140.
        dose_mas: exposure per view.
        geometry: `parallel` or `cone`.
        scatter: scatter-to-primary ratio.
        map_tasks: how tasks are spread over processes or machines.
        progress: told after every batch of images.

    Raises:
        ConfigurationError: on settings outside their range.
        DataError: on a file that is not a CT in HU, one CT given twice, or another dataset at
            `path`.
    """
    names = [ct_name(source) for source in sources]
    if not names or len(set(names)) < len(names):
        raise DataError(f"got the CTs {names}; expected one or more with different names")
    files = _hashes_of_patients(names, sources)
    field_mm = max(extent for source in sources for extent in ct_extent_mm(source))
    exposure, detector = _equipment(
        size_px, field_mm, kvp=kvp, dose_mas=dose_mas, geometry=geometry, scatter=scatter
    )
    with _flags_refused():
        cortical_bone_hu(ct_kvp)
    if poses == "xray-gan":
        poses_deg = xray_gan_poses()
    else:
        poses_deg = sweep_poses(poses, np.random.default_rng([seed, 4]))
    tasks = [
        RenderTask(
            source=CtSource(source.resolve(), ct_kvp, phantom_voxel_mm(detector.pixel_mm)),
            poses_deg=poses_deg[first : first + POSES_PER_TASK],
            detector=detector,
            exposure=exposure,
            seed=seed,
        )
        for source in sources
        for first in range(0, len(poses_deg), POSES_PER_TASK)
    ]
    return _write(
        path,
        tasks,
        split_subjects(names, seed=seed) if len(names) >= 3 else split_poses(poses_deg),
        kind="ct",
        source={"files": files, "poses": poses, "seed": seed, "ct_kvp": ct_kvp},
        map_tasks=map_tasks,
        progress=progress,
    )


def _equipment(
    size_px: int,
    field_mm: float,
    *,
    kvp: float,
    dose_mas: float,
    geometry: Geometry,
    scatter: float,
) -> tuple[Exposure, Detector]:
    with _flags_refused():
        exposure = Exposure(kvp=kvp, dose_mas=dose_mas, scatter_to_primary=scatter)
        detector = Detector(size_px=size_px, pixel_mm=field_mm / size_px, geometry=geometry)
    return exposure, detector


@contextmanager
def _flags_refused() -> Iterator[None]:
    """Tell a value that physics refuses as what it is: a flag to change."""
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


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
    detector, exposure = tasks[0].detector, tasks[0].exposure
    # Closing ends the workers at once when writing fails or is interrupted.
    with closing(rendered(tasks, map_tasks, progress)) as samples:
        return write_dataset(
            path,
            samples,
            split,
            kind=kind,
            pixel_mm=detector.pixel_mm,
            units=UNITS,
            source={**source, "detector": asdict(detector), "exposure": asdict(exposure)},
        )


def _hashes_of_patients(names: Sequence[str], sources: Sequence[Path]) -> dict[str, str]:
    """Return the sha256 of each CT by name; refuse one CT as two patients."""
    first: dict[str, Path] = {}
    for source in sources:
        sha256 = ct_sha256(source)
        if sha256 in first:
            raise DataError(
                f"{first[sha256]} and {source} are the same CT, given as two patients",
                hint="give each patient once",
            )
        first[sha256] = source
    return dict(zip(names, first, strict=True))
