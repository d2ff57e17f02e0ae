"""Views of one volume as a task: small to send, the same images wherever it runs."""

import functools
import zlib
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dexsearch.data.writing import Sample
from dexsearch.physics.detector import Exposure, log_projection
from dexsearch.physics.projection import (
    Detector,
    Pose,
    pixel_means,
    ray_lengths_cm,
    seen_whole,
)
from dexsearch.volumes.ct import load_ct
from dexsearch.volumes.phantom import phantom_subject
from dexsearch.volumes.subject import Subject

BODY_ABOVE_CM = 0.5

ProgressCallback = Callable[[int, int], None]
"""Called with the number of finished images and of all images."""


@dataclass(frozen=True, slots=True)
class PhantomSource:
    """Subject `index` of the procedural cohort `seed`."""

    seed: int
    index: int
    voxel_mm: float

    def load(self) -> Subject:
        """Draw the subject."""
        return phantom_subject(self.seed, self.index, voxel_mm=self.voxel_mm)


@dataclass(frozen=True, slots=True)
class CtSource:
    """A CT file and its tube voltage."""

    path: Path
    kvp: float
    voxel_mm: float

    def load(self) -> Subject:
        """Read the CT."""
        return load_ct(self.path, kvp=self.kvp, voxel_mm=self.voxel_mm)


@dataclass(frozen=True, slots=True)
class RenderTask:
    """Some views of one volume; small enough to be sent to another process or machine."""

    source: PhantomSource | CtSource
    poses_deg: tuple[Pose, ...]
    detector: Detector
    exposure: Exposure
    seed: int


MapTasks = Callable[
    [Callable[[RenderTask], list[Sample]], Sequence[RenderTask]], Iterable[list[Sample]]
]
"""Maps a function over tasks and keeps their order; the default uses local processes."""


def render(task: RenderTask) -> list[Sample]:
    """Render the views of one task; the same task gives the same images everywhere."""
    subject = _load(task.source)
    return [_render_view(subject, pose_deg, task) for pose_deg in task.poses_deg]


@functools.lru_cache(maxsize=1)
def _load(source: PhantomSource | CtSource) -> Subject:
    """Load a volume; the last one is kept, because its views come in several tasks."""
    return source.load()


def _render_view(subject: Subject, pose_deg: Pose, task: RenderTask) -> Sample:
    detector = task.detector
    voxel_mm = subject.voxel_mm
    rays = ray_lengths_cm(
        subject.soft, subject.bone, voxel_mm=voxel_mm, pose_deg=pose_deg, detector=detector
    )
    image_key = zlib.crc32(f"{subject.name} {pose_deg}".encode())
    noise = np.random.default_rng([task.seed, image_key])
    soft_cm, bone_cm = (pixel_means(lengths, detector.supersample) for lengths in rays)
    whole = seen_whole(
        subject.soft, subject.bone, voxel_mm=voxel_mm, pose_deg=pose_deg, detector=detector
    )
    return Sample(
        subject=subject.name,
        pose_deg=pose_deg,
        input=log_projection(*rays, task.exposure, detector=detector, rng=noise),
        bone=bone_cm,
        tissue=soft_cm,
        mask=(soft_cm + bone_cm > BODY_ABOVE_CM) & whole,
    )


def rendered(
    tasks: Sequence[RenderTask], map_tasks: MapTasks, progress: ProgressCallback | None
) -> Generator[Sample, None, None]:
    """Yield the samples of all tasks in order."""
    n_images = sum(len(task.poses_deg) for task in tasks)
    n_done = 0
    for samples in map_tasks(render, tasks):
        yield from samples
        n_done += len(samples)
        if progress is not None:
            progress(n_done, n_images)
