"""How fast does a configuration train on this machine? A few real epochs on random images.

The training loop itself runs, on a few batches and as many validation images as fall to them, so
its seconds scale with the numbers of images. No data set is needed: speed does not depend on what
the images show.
"""

import itertools
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from dexsearch.config.trial import Task, TrialConfig
from dexsearch.errors import EnvironmentFault

if TYPE_CHECKING:
    import torch

    from dexsearch.data.pairs import DevicePathLengths, Pairs, TrainingData
    from dexsearch.physics.exposure import Exposure
    from dexsearch.physics.geometry import Detector

    Exposed = tuple[Exposure, Detector]

BUDGET_S = 3.0
"""Measured time of one configuration; one that needs longer for a batch gets a single epoch."""

_MOST_BATCHES = 8
_BATCH_MULTIPLY_ADDS = 2e10
_LEARNING_RATE = 1e-4
_PIXEL_MM = 5.0
_MOST_CM_AND_EDGE = (20.0, 3.0, 0.01)


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """The images of a dataset that a trial looks at."""

    train: int
    validation: int


def seconds_per_epoch(
    config: TrialConfig,
    size_px: tuple[int, int],
    images: ImageCounts,
    *,
    cpus: int,
    exposed: "Exposed | None" = None,
) -> float:
    """Measure the seconds that an epoch of a whole dataset takes, alone on this machine.

    Fresh exposures are made of random path lengths; `derive` is timed as the bone head that it
    trains. The learning rate is a small one, so that random images do no harm.

    Args:
        config: must fit images of `size_px`.
        size_px: height and width.
        images: of the real dataset.
        cpus: threads of a trial.
        exposed: how the real dataset was, where fresh exposures are asked for; None: by default.

    Raises:
        EnvironmentFault: if the configuration does not fit into memory.
    """
    import torch

    from dexsearch.training.loop import TrainingOutOfMemory, train
    from dexsearch.training.out_of_memory import naming_memory

    config = _harmless(config)
    batch = min(config.batch_size, images.train)
    n_steps = images.train // batch
    n_probed = min(n_steps, _batches(config, size_px, batch))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    n_validation = max(1, round(images.validation * n_probed / n_steps))
    probed = ImageCounts(n_probed * batch, n_validation)
    threads = torch.get_num_threads()
    torch.set_num_threads(cpus)
    try:
        with naming_memory(0, "making images to train on"):
            data = _random_data(config, size_px, probed, device, exposed)
        records = train(config, data, epochs=10_000, device=device)
        first = next(records).seconds
        measured: list[float] = []
        began = perf_counter()
        while first < BUDGET_S and (not measured or perf_counter() - began < BUDGET_S):
            measured += [record.seconds for record in itertools.islice(records, 1)]
    except TrainingOutOfMemory as error:
        raise EnvironmentFault(
            f"a configuration of this space does not fit into memory: {error}",
            hint="set limits.parameters, or lower generator.width or batch_size in the space",
        ) from None
    finally:
        torch.set_num_threads(threads)
    return (median(measured) if measured else first) * n_steps / n_probed


def _harmless(config: TrialConfig) -> TrialConfig:
    """Leave out what does not decide the speed but would need real data or a long run."""
    slow = {"learning_rate": _LEARNING_RATE, "warmup_epochs": 0.0}
    return config.model_copy(
        update={
            "task": Task.BONE if config.task is Task.DERIVE else config.task,
            "optimizer": config.optimizer.model_copy(update=slow),
        }
    )


def _batches(config: TrialConfig, size_px: tuple[int, int], batch: int) -> int:
    """Return how many batches an epoch of the probe has: several where they are small."""
    from dexsearch.models.cost import step_multiply_adds

    wanted = _BATCH_MULTIPLY_ADDS / (batch * step_multiply_adds(config, size_px))
    return max(1, min(_MOST_BATCHES, int(wanted)))


def _random_data(
    config: TrialConfig,
    size_px: tuple[int, int],
    images: ImageCounts,
    device: "torch.device",
    exposed: "Exposed | None",
) -> "TrainingData":
    import torch

    from dexsearch.data.pairs import Pairs, TrainingData
    from dexsearch.physics.exposure import Exposure
    from dexsearch.physics.geometry import Detector

    rng = torch.Generator().manual_seed(0)
    task, fresh = config.task, config.exposure.resample

    def pairs(n: int, n_targets: int) -> "Pairs":
        return Pairs(
            input=torch.rand(n, 1, *size_px, generator=rng).to(device),
            target=torch.rand(n, n_targets, *size_px, generator=rng).to(device),
            mask=torch.ones(n, 1, *size_px, dtype=torch.bool, device=device),
            path_lengths=_random_lengths((n, *size_px), device) if fresh else None,
        )

    return TrainingData(
        train=pairs(images.train, len(task.predicted)),
        validation=pairs(images.validation, len(task.targets)),
        targets=task.targets,
        input_mean=0.5,
        input_std=0.3,
        data_ranges=(1.0,) * len(task.targets),
        digest="random images",
        exposure=exposed or (Exposure(), Detector(max(size_px), _PIXEL_MM)) if fresh else None,
    )


def _random_lengths(shape: tuple[int, int, int], device: "torch.device") -> "DevicePathLengths":
    """Return lengths as in a chest, and edges, which are taken off where there are any."""
    import numpy as np

    from dexsearch.data.pairs import DevicePathLengths

    rng = np.random.default_rng(0)
    soft_cm, bone_cm, edges = (rng.random(shape, np.float32) * most for most in _MOST_CM_AND_EDGE)
    return DevicePathLengths(soft_cm, bone_cm, device, edges=edges)
