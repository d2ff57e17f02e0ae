"""A small synthetic task: smooth tissue, line-like bones, an input that mixes both."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage

from dexsearch.data.pairs import Pairs, TrainingData


def synthetic_pairs(n_images: int, size_px: int, *, seed: int, targets: tuple[str, ...]) -> Pairs:
    """Draw images whose input is -ln of an attenuated two-energy beam."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size_px, :size_px] / size_px
    inputs, targets_of, masks = [], [], []
    for _ in range(n_images):
        body = ((rows - 0.5) / 0.46) ** 2 + ((columns - 0.5) / rng.uniform(0.38, 0.46)) ** 2
        mask = body < 1
        smooth = ndimage.gaussian_filter(rng.normal(size=mask.shape), size_px / 10)
        tissue = 16 * np.sqrt(np.clip(1 - body, 0, None)) * (1 + 0.3 * smooth / smooth.std())
        bone = np.zeros_like(tissue)
        for _ in range(6):
            angle, shift = rng.uniform(-0.6, 0.6), rng.uniform(-0.4, 0.4)
            distance = (rows - 0.5) * np.cos(angle) + (columns - 0.5) * np.sin(angle) - shift
            bone += rng.uniform(0.5, 1.5) * np.exp(-0.5 * (distance / 0.02) ** 2)
        tissue, bone = np.clip(tissue, 0, None) * mask, bone * mask
        beam = 0.5 * np.exp(-0.26 * tissue - 1.0 * bone) + 0.5 * np.exp(
            -0.21 * tissue - 0.6 * bone
        )
        noise = rng.normal(size=beam.shape) * 0.01
        inputs.append(-np.log(beam) + noise)
        images = {"bone": bone, "tissue": tissue}
        targets_of.append(np.stack([images[name] for name in targets]))
        masks.append(mask)
    as_tensor = lambda arrays: torch.from_numpy(np.stack(arrays)).float()  # noqa: E731
    return Pairs(
        input=as_tensor(inputs)[:, None],
        target=as_tensor(targets_of),
        mask=torch.from_numpy(np.stack(masks))[:, None],
    )


def synthetic_data(
    n_train: int, n_validation: int, size_px: int, *, targets: tuple[str, ...]
) -> TrainingData:
    train = synthetic_pairs(n_train, size_px, seed=0, targets=targets)
    inside = train.input[train.mask]
    ranges = [train.target[:, c : c + 1][train.mask] for c in range(len(targets))]
    return TrainingData(
        train=train,
        validation=synthetic_pairs(n_validation, size_px, seed=1, targets=targets),
        targets=targets,
        input_mean=float(inside.mean()),
        input_std=float(inside.std()),
        data_ranges=tuple(float(v.quantile(0.999) - v.quantile(0.001)) for v in ranges),
        digest="synthetic",
    )


@pytest.fixture(scope="session")
def make_data() -> Callable[..., TrainingData]:
    """`synthetic_data`, for tests that need another size."""
    return synthetic_data


@pytest.fixture(scope="session")
def joint_data() -> TrainingData:
    """20 training and 4 validation images of 32 px, bone and tissue."""
    return synthetic_data(20, 4, 32, targets=("bone", "tissue"))


@pytest.fixture(scope="session")
def bone_data() -> TrainingData:
    """20 training and 4 validation images of 32 px, bone only."""
    return synthetic_data(20, 4, 32, targets=("bone",))
