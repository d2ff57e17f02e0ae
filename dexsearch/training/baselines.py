"""What doing nothing scores: the numbers that stand beside every score of a generator.

    identity_affine   the input itself, with one slope and offset per target
    nearest_pose      the target of the training image seen from the nearest pose
    constant          the mean of the target over the training bodies

All are fitted on training images alone and scored on validation images, with the pinned metric.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dexsearch.data.splits import Pose
from dexsearch.data.store import TARGETS, Arrays, Dataset, ImageInfo
from dexsearch.physics.projection import rotation_matrix
from dexsearch.training.affine import AffineFit, fit_affine
from dexsearch.training.metrics import score_images

_BATCH = 16
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
    chosen = nearest_training_images(train, infos["train"], validation, infos["validation"])
    fits = {name: affine_fit(train, name) for name in TARGETS}
    means = {name: fit.mean_target for name, fit in fits.items()}
    scores: dict[str, list[NDArray[np.float64]]] = {}
    for part in _batches(len(validation.input)):
        truth = {name: np.array(validation.target(name)[part]) for name in TARGETS}
        mask = np.array(validation.mask[part])
        image = np.array(validation.input[part])
        predictions = {
            "identity_affine": {name: _copy(image, fits[name]) for name in TARGETS},
            "nearest_pose": {name: train.target(name)[chosen[part]] for name in TARGETS},
            "constant": {name: mask * np.float32(means[name]) for name in TARGETS},
        }
        for method, prediction in predictions.items():
            scores.setdefault(method, []).append(
                _score(prediction, truth, mask, dataset.manifest.data_ranges)
            )
    masked, whole = {}, {}
    for method, parts in scores.items():
        table = np.concatenate(parts)
        masked[method] = _means(table[:, 0])
        whole[method] = _means(table[:, 1])
    return Baselines(**masked, whole_image=whole)


def affine_fit(train: Arrays, target: str) -> AffineFit:
    """Fit one target on the mask pixels of the training images."""

    def pixels(images: NDArray[np.float32], part: slice) -> torch.Tensor:
        return torch.from_numpy(np.asarray(images[part])[np.asarray(train.mask[part])])

    parts = _batches(len(train.input))
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
    prediction: Images, truth: Images, mask: NDArray[np.bool_], data_ranges: dict[str, float]
) -> NDArray[np.float64]:
    """Return B x (masked, whole image) x targets."""
    scores = score_images(
        _stack(prediction),
        _stack(truth),
        data_range=[data_ranges[name] for name in TARGETS],
        mask=torch.from_numpy(mask[:, None]),
    )
    both = torch.stack((scores.ssim, scores.whole_ssim), dim=1)
    table: NDArray[np.float64] = both.double().numpy()
    return table


def _stack(images: Images) -> torch.Tensor:
    stacked: NDArray[Any] = np.stack([images[name] for name in TARGETS], axis=1)
    return torch.from_numpy(stacked.astype(np.float32))


def _means(scores: NDArray[np.float64]) -> dict[str, float]:
    """Average over images."""
    means = scores.mean(axis=0)
    return {name: float(value) for name, value in zip(TARGETS, means, strict=True)}


def _batches(n_images: int) -> Iterator[slice]:
    for start in range(0, n_images, _BATCH):
        yield slice(start, min(start + _BATCH, n_images))
