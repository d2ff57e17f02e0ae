"""What doing nothing scores: the numbers that stand beside every score of a generator.

    identity_affine   the input itself, with one slope and offset per target
    nearest_pose      the target of the training image seen from the nearest pose
    constant          the mean of the target over the training bodies

All are fitted on training images alone and scored on validation images, with the pinned metric.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dexsearch.data.splits import Pose
from dexsearch.data.store import Arrays, Dataset, ImageInfo
from dexsearch.physics.geometry import rotation_matrix
from dexsearch.training.affine import AffineFit, fit_affine
from dexsearch.training.metrics import EROSION_PX, erode, score_images

_PIXELS_PER_BATCH = 2**18  # small enough for the processor's cache
_SAME_POSE_DEG = 0.01

Images = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Baselines:
    """Mean SSIM over the validation images, per target; see the module for the three methods.

    `whole_image` holds the same without the mask, by method and target: it is high for every
    method, which is why it is not what is searched for.
    """

    identity_affine: dict[str, float]
    nearest_pose: dict[str, float]
    constant: dict[str, float]
    whole_image: dict[str, dict[str, float]]

    def masked(self) -> dict[str, dict[str, float]]:
        """Return the masked SSIM by method and target."""
        return {
            "identity_affine": self.identity_affine,
            "nearest_pose": self.nearest_pose,
            "constant": self.constant,
        }


def baselines(dataset: Dataset) -> Baselines:
    """Score the three baselines on the validation images; the hold-out is not opened."""
    train, validation = dataset.arrays("train"), dataset.arrays("validation")
    infos = dataset.manifest.images
    targets = dataset.manifest.targets
    chosen = nearest_training_images(train, infos["train"], validation, infos["validation"])
    fits = {name: affine_fit(train, name) for name in targets}
    scores: dict[str, list[NDArray[np.float64]]] = {}
    for part in _batches(validation.input):
        truth = {name: _float32(validation.target(name)[part]) for name in targets}
        mask = np.array(validation.mask[part])
        eroded = erode(torch.from_numpy(mask[:, None]), EROSION_PX)
        image = np.array(validation.input[part])
        predictions = {
            "identity_affine": {name: _copy(image, fits[name]) for name in targets},
            "nearest_pose": {name: _float32(train.target(name)[chosen[part]]) for name in targets},
            "constant": {name: mask * np.float32(fits[name].mean_target) for name in targets},
        }
        for method, prediction in predictions.items():
            scores.setdefault(method, []).append(
                _score(prediction, truth, mask, eroded, dataset.manifest.data_ranges)
            )
    tables = {method: np.concatenate(parts).mean(axis=0) for method, parts in scores.items()}
    masked = {method: _by_target(targets, table[0]) for method, table in tables.items()}
    whole = {method: _by_target(targets, table[1]) for method, table in tables.items()}
    return Baselines(**masked, whole_image=whole)


def affine_fit(train: Arrays, target: str) -> AffineFit:
    """Fit one target on the mask pixels of the training images."""

    def pixels(images: NDArray[Any], part: slice) -> torch.Tensor:
        return torch.from_numpy(_float32(images[part])[np.asarray(train.mask[part])])

    parts = _batches(train.input)
    return fit_affine((pixels(train.input, p), pixels(train.target(target), p)) for p in parts)


def nearest_training_images(
    train: Arrays,
    train_infos: tuple[ImageInfo, ...],
    images: Arrays,
    infos: tuple[ImageInfo, ...],
) -> NDArray[np.int64]:
    """Return for each image the index of the training image seen from the nearest pose.

    Among equally near poses the one whose input is nearest in the image's mask is taken.
    """
    rotations = _rotations([info.pose_deg for info in train_infos])
    chosen = np.empty(len(infos), dtype=np.int64)
    for index, info in enumerate(infos):
        distance_deg = _angles_deg(rotations, info.pose_deg)
        near = np.flatnonzero(distance_deg <= distance_deg.min() + _SAME_POSE_DEG)
        mask = np.asarray(images.mask[index])
        image = np.asarray(images.input[index])[mask]
        errors = [float(np.square(train.input[other][mask] - image).sum()) for other in near]
        chosen[index] = near[int(np.argmin(errors))]
    return chosen


def _copy(image: NDArray[np.float32], fit: AffineFit) -> NDArray[np.float32]:
    return (fit.slope * image + fit.offset).astype(np.float32)


def pose_distance_deg(poses_deg: Sequence[Pose], pose_deg: Pose) -> NDArray[np.float64]:
    """Return the angle of the rotation from `pose_deg` to each of `poses_deg`."""
    return _angles_deg(_rotations(poses_deg), pose_deg)


def _rotations(poses_deg: Sequence[Pose]) -> NDArray[np.float64]:
    return np.stack([rotation_matrix(pose) for pose in poses_deg])


def _angles_deg(rotations: NDArray[np.float64], pose_deg: Pose) -> NDArray[np.float64]:
    traces = np.einsum("nij,ij->n", rotations, rotation_matrix(pose_deg))
    angles: NDArray[np.float64] = np.rad2deg(np.arccos(np.clip((traces - 1.0) / 2.0, -1.0, 1.0)))
    return angles


def _score(
    prediction: Images,
    truth: Images,
    mask: NDArray[np.bool_],
    eroded: torch.Tensor,
    data_ranges: dict[str, float],
) -> NDArray[np.float64]:
    """Return B x (masked, whole image) x targets, the targets in the order of `truth`."""
    scores = score_images(
        _stack(prediction, truth),
        _stack(truth, truth),
        data_range=[data_ranges[name] for name in truth],
        mask=torch.from_numpy(mask[:, None]),
        eroded=eroded,
    )
    both = torch.stack((scores.ssim, scores.whole_ssim), dim=1)
    table: NDArray[np.float64] = both.double().numpy()
    return table


def _stack(images: Images, order: Iterable[str]) -> torch.Tensor:
    return torch.from_numpy(np.stack([images[name] for name in order], axis=1))


def _by_target(targets: Sequence[str], values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(targets, values.tolist(), strict=True))


def _float32(images: NDArray[Any]) -> NDArray[np.float32]:
    """Copy stored images, which may be float16, for computing."""
    return np.array(images, dtype=np.float32)


def _batches(images: NDArray[Any]) -> Iterator[slice]:
    n_images, rows, columns = images.shape
    step = max(1, _PIXELS_PER_BATCH // (rows * columns))
    for start in range(0, n_images, step):
        yield slice(start, min(start + step, n_images))
