"""Pairs of input and target images as tensors that stay on the training device.

Axes  N images, C targets, H rows, W columns. Values keep the dataset's units.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from dexsearch.config.trial import Task
from dexsearch.data.store import Dataset, Subset


@dataclass(frozen=True, slots=True)
class Pairs:
    """The images of one subset on one device."""

    input: Float[Tensor, "N 1 H W"]
    target: Float[Tensor, "N C H W"]
    mask: Bool[Tensor, "N 1 H W"]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.input)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Everything that a training run reads.

    Attributes:
        train: images that the generator learns from.
        validation: images of other subjects, that scores and pruning look at.
        targets: names of the target channels, in order.
        input_mean: mean of the training inputs in their masks.
        input_std: standard deviation of the same.
        data_ranges: data range of each target, in channel order.
        digest: identity of the dataset.
    """

    train: Pairs
    validation: Pairs
    targets: tuple[str, ...]
    input_mean: float
    input_std: float
    data_ranges: tuple[float, ...]
    digest: str


def load_pairs(
    dataset: Dataset, subset: Subset, targets: tuple[str, ...], device: torch.device
) -> Pairs:
    """Copy one subset to the device, the targets stacked in the order given."""
    arrays = dataset.arrays(subset)
    target = np.stack([arrays.target(name) for name in targets], axis=1, dtype=np.float32)
    return Pairs(
        input=_to_device(arrays.input[:, None], device),
        target=_to_device(target, device),
        mask=_to_device(arrays.mask[:, None], device),
    )


def load_training_data(dataset: Dataset, task: Task, device: torch.device) -> TrainingData:
    """Load the training and validation pairs of a task; the hold-out is not opened."""
    manifest = dataset.manifest
    return TrainingData(
        train=load_pairs(dataset, "train", task.targets, device),
        validation=load_pairs(dataset, "validation", task.targets, device),
        targets=task.targets,
        input_mean=manifest.input_mean,
        input_std=manifest.input_std,
        data_ranges=tuple(manifest.data_ranges[name] for name in task.targets),
        digest=manifest.digest,
    )


def _to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array, which may be a read-only memory map, to the device."""
    return torch.from_numpy(np.array(array)).to(device)
