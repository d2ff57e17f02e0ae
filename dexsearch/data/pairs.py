"""Pairs of input and target images as tensors that stay on the training device.

Axes  N images, C targets, H rows, W columns. Values keep the dataset's units.
"""

import functools
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from dexsearch.config.trial import Task
from dexsearch.data.dataset import Arrays
from dexsearch.data.exposures import exposure_of
from dexsearch.data.manifest import Manifest
from dexsearch.data.splits import Subset
from dexsearch.data.tumours import Tumours, tumours_of
from dexsearch.physics.exposure import Exposure
from dexsearch.physics.geometry import Detector
from dexsearch.physics.inversion import ExposureInversion


@runtime_checkable
class SubsetImages(Protocol):
    """The images of a dataset by subset, wherever they lie; `Dataset` has them in a folder."""

    @property
    def manifest(self) -> Manifest:
        """What the dataset says about itself."""
        ...

    def arrays(self, subset: Subset) -> Arrays:
        """Return the images of one subset."""
        ...

    def path_lengths(self, subset: Subset) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Return the clean path lengths of soft tissue and bone in cm; None without."""
        ...

    def edges(self, subset: Subset) -> NDArray[Any] | None:
        """Return what edges within a pixel let through, see `manifest.EDGES`; None without."""
        ...


@final
class DevicePathLengths:
    """Path lengths of one subset; on the device, as float16 in cm, from the first use on."""

    def __init__(
        self,
        soft_cm: NDArray[Any],
        bone_cm: NDArray[Any],
        device: torch.device,
        *,
        edges: NDArray[Any] | None = None,
    ) -> None:
        """Remember the arrays (N H W, memory maps as a rule); nothing is read yet."""
        self._soft_cm, self._bone_cm, self._edges = soft_cm, bone_cm, edges
        self._device = device

    @functools.cached_property
    def soft_cm(self) -> Float[Tensor, "N H W"]:
        """Length through soft tissue, the mean over a pixel's rays."""
        return _to_device(self._soft_cm.astype(np.float16), self._device)

    @functools.cached_property
    def bone_cm(self) -> Float[Tensor, "N H W"]:
        """The same through cortical bone."""
        return _to_device(self._bone_cm.astype(np.float16), self._device)

    @functools.cached_property
    def edges(self) -> Float[Tensor, "N H W"] | None:
        """How much lower an exposure is for the edges within its pixels, in log units."""
        if self._edges is None:
            return None
        return _to_device(self._edges.astype(np.float16), self._device)


@dataclass(frozen=True, slots=True)
class Pairs:
    """The images of one subset on one device."""

    input: Float[Tensor, "N 1 H W"]
    target: Float[Tensor, "N C H W"]
    mask: Bool[Tensor, "N 1 H W"]
    path_lengths: DevicePathLengths | None = None
    """What fresh exposures are made from; None where the dataset has none."""
    tumours: Tumours | None = None
    """Where known tumours lie; None where no image has one."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.input)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Everything that a training run reads.

    Attributes:
        train: images that the generator learns from, with the targets that it predicts.
        validation: images of other subjects, that scores and pruning look at.
        targets: names of the validation images' target channels, in order; the training images
            have the first of them.
        input_mean: mean of the training inputs in their masks.
        input_std: standard deviation of the same.
        data_ranges: data range of each target, in channel order.
        digest: identity of the dataset.
        exposure: how the inputs were exposed, and on what; None where they were not simulated.
        inversion: computes tissue from the inputs and bone; None where no head needs it.
        pixel_mm: pixel spacing at the isocentre; None where it is not known.
    """

    train: Pairs
    validation: Pairs
    targets: tuple[str, ...]
    input_mean: float
    input_std: float
    data_ranges: tuple[float, ...]
    digest: str
    exposure: tuple[Exposure, Detector] | None = None
    inversion: ExposureInversion | None = None
    pixel_mm: float | None = None


def load_pairs(
    dataset: SubsetImages, subset: Subset, targets: tuple[str, ...], device: torch.device
) -> Pairs:
    """Copy one subset to the device, the targets stacked in the order given."""
    arrays = dataset.arrays(subset)
    target = np.stack([arrays.target(name) for name in targets], axis=1, dtype=np.float32)
    lengths = dataset.path_lengths(subset)
    return Pairs(
        input=_to_device(arrays.input[:, None], device),
        target=_to_device(target, device),
        mask=_to_device(arrays.mask[:, None], device),
        path_lengths=None
        if lengths is None
        else DevicePathLengths(*lengths, device, edges=dataset.edges(subset)),
        tumours=_tumours(dataset.manifest, subset, device),
    )


def load_training_data(dataset: SubsetImages, task: Task, device: torch.device) -> TrainingData:
    """Load the training and validation pairs of a task; the hold-out is not opened.

    Raises:
        ConfigurationError: if the task is `derive` and the dataset's tissue cannot be computed.
    """
    manifest = dataset.manifest
    return TrainingData(
        train=load_pairs(dataset, "train", task.predicted, device),
        validation=load_pairs(dataset, "validation", task.targets, device),
        targets=task.targets,
        input_mean=manifest.input_mean,
        input_std=manifest.input_std,
        data_ranges=tuple(manifest.data_ranges[name] for name in task.targets),
        digest=manifest.digest,
        exposure=exposure_of(manifest),
        inversion=_inversion(manifest) if task is Task.DERIVE else None,
        pixel_mm=manifest.pixel_mm,
    )


def _inversion(manifest: Manifest) -> ExposureInversion:
    """Fit how tissue follows from bone; only a derived head needs what simulates an exposure."""
    from dexsearch.data.inversions import inversion_of  # noqa: PLC0415  (SciPy's optimisers)

    return inversion_of(manifest)


def _tumours(manifest: Manifest, subset: Subset, device: torch.device) -> Tumours | None:
    """Return the tumours of a subset; None where none is known."""
    infos = manifest.images[subset]
    if manifest.pixel_mm is None or all(info.tumour is None for info in infos):
        return None
    geometry = (manifest.source.get("detector") or {}).get("geometry", "parallel")
    return tumours_of(infos, pixel_mm=manifest.pixel_mm, geometry=geometry, device=device)


def _to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array, which may be a read-only memory map, to the device."""
    return torch.from_numpy(np.array(array)).to(device)
