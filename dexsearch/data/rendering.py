"""Views of one volume as a task: small to send, the same images wherever it runs."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits

from dexsearch.data.samples import Sample
from dexsearch.data.views import Imaging, view_sample
from dexsearch.data.volume_sources import VolumeSource, load_volume
from dexsearch.physics.geometry import Pose

ProgressCallback = Callable[[int, int], None]
"""Called with the number of finished images and of all images."""


@dataclass(frozen=True, slots=True)
class RenderTask:
    """Some views of one volume; small enough to be sent to another process or machine."""

    source: VolumeSource
    poses_deg: tuple[Pose, ...]
    imaging: Imaging
    seed: tuple[int, int]
    """Of the dataset, and the place of the volume in it."""
    parity: bool = False


MapTasks = Callable[
    [Callable[[RenderTask], list[Sample]], Sequence[RenderTask]], Iterable[list[Sample]]
]
"""Maps a function over tasks and keeps their order; the default uses local processes."""


def render(task: RenderTask) -> list[Sample]:
    """Render the views of one task; the same task gives the same images everywhere."""
    with _one_thread():
        volume = load_volume(task.source, parity=task.parity)
        return [view_sample(volume, pose, task.imaging, seed=task.seed) for pose in task.poses_deg]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, in torch and in BLAS: sums depend on how they are shared out."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(n_threads)


def rendered(
    tasks: Sequence[RenderTask],
    map_tasks: MapTasks,
    progress: ProgressCallback | None,
    *,
    n_done: int,
) -> Generator[list[Sample], None, None]:
    """Yield the samples of every task after the first `n_done`, in order."""
    n_views = [len(task.poses_deg) for task in tasks]
    n_images, finished = sum(n_views), sum(n_views[:n_done])
    if progress is not None:
        progress(finished, n_images)
    for samples in map_tasks(render, tasks[n_done:]):
        yield samples
        finished += len(samples)
        if progress is not None:
            progress(finished, n_images)
