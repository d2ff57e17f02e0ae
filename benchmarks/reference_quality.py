"""The scores of `dexsearch.training.quality`, one image at a time in NumPy, SciPy, scikit-image.

Plain on purpose: benchmarks/metrics.py and the tests hold the batched ones against it. Nothing is
taken from the code under test but its published thresholds, which are repeated here as numbers,
and no image is filtered twice with the same window.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter
from skimage.feature import match_template
from skimage.metrics import structural_similarity

Image = NDArray[Any]
Regions = tuple[Image, Image]
"""Where a structure is, and where its background is."""

Stages = Mapping[str, Image]
"""Images (C H W) of bone and tissue, by stage: input, prediction, truth."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A tumour in an image."""

    row_px: float
    column_px: float
    diameter_px: float


def scores(
    stages: Stages, soft: Image, bone: Image, mask: Image, spot: Spot | None, pixel_mm: float
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Return every score of one image by key, and the four sums of its suppression."""
    near = Near(mask, window_px(pixel_mm))
    bone_hp = near.high_pass(bone)
    hp = {stage: near.high_pass(images[1]) for stage, images in stages.items()}
    structures = [
        ("rib", ("bone", "tissue"), rib_regions(near.mean(soft), bone_hp, mask, pixel_mm))
    ]
    found: dict[str, float] = {}
    if spot is not None:
        structures.append(("tumour", ("tissue",), tumour_regions(spot, mask)))
        for name, stage in (("tumour_error_input_mm", "input"), ("tumour_error_mm", "prediction")):
            search_px = max(2, round(15.0 / pixel_mm))
            error_px = localisation_error_px(hp[stage], hp["truth"], spot, search_px)
            found[name] = error_px * pixel_mm
    for name, targets, regions in structures:
        keys = [(target, stage) for target in targets for stage in stages]
        images = [stages[stage][("bone", "tissue").index(target)] for target, stage in keys]
        ratios = anatomy_limited(images, regions, pixel_mm)
        found |= {f"sdnr_{name}_{t}_{s}": r for (t, s), r in zip(keys, ratios, strict=True)}
    return found, suppression(hp, bone_hp)


def input_copies(inputs: Image, targets: Image, masks: Image) -> Image:
    """Bring inputs (B H W) to the unit of each target (B C H W): lines through all bodies."""
    x = inputs[masks].astype(float)
    centred = x - x.mean()
    lines = []
    for channel in range(targets.shape[1]):
        y = targets[:, channel][masks].astype(float)
        slope = (centred * y).sum() / (centred**2).sum()
        lines.append(np.float32(slope) * inputs + np.float32(y.mean() - slope * x.mean()))
    return np.stack(lines, axis=1)


def masked_ssim(prediction: Image, truth: Image, mask: Image, data_range: float) -> float:
    """Average scikit-image's map over the eroded mask."""
    full = structural_similarity(
        prediction, truth, data_range=data_range, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )[1]  # fmt: skip
    return float(full[binary_erosion(mask, np.ones((11, 11)))].mean())


def psnr(prediction: Image, truth: Image, mask: Image, data_range: float) -> float:
    """Return dB inside the mask."""
    return float(-10 * np.log10(np.mean(((prediction - truth)[mask] / data_range) ** 2)))


def mae(prediction: Image, truth: Image, mask: Image) -> float:
    """Return the mean absolute error inside the mask."""
    return float(np.abs(prediction - truth)[mask].mean())


def window_px(pixel_mm: float) -> float:
    """Return the standard deviation of the window that says what is beside what: 10 mm."""
    return max(1.5, 10.0 / pixel_mm)


def blur(image: Image, sigma_px: float) -> Image:
    """Filter with a Gaussian cut at 3 sigma, nothing beyond the image."""
    radius = max(1, math.ceil(3 * sigma_px))
    filtered: Image = gaussian_filter(
        image.astype(np.float32), sigma_px, mode="constant", radius=radius
    )
    return filtered


class Near:
    """Averages over the pixels of a mask near each pixel; the window of the mask is kept."""

    def __init__(self, mask: Image, sigma_px: float) -> None:
        """Filter the mask."""
        self._mask, self._sigma_px = mask, sigma_px
        self.weight = blur(mask, sigma_px)

    def mean(self, image: Image) -> Image:
        """Average; 0 where the mask is nowhere near."""
        total = blur(np.where(self._mask, image, 0), self._sigma_px)
        mean: Image = np.where(self.weight > 1e-6, total / np.maximum(self.weight, 1e-6), 0)
        return mean

    def high_pass(self, image: Image) -> Image:
        """Return the image less its local mean inside the mask."""
        detail: Image = np.where(self._mask, image - self.mean(image), 0)
        return detail


def rib_regions(soft_mean: Image, bone_hp: Image, mask: Image, pixel_mm: float) -> Regions:
    """Find ribs and the spaces between them where less soft tissue is near than the median."""
    side = 2 * max(1, round(10.0 / pixel_mm)) + 1
    median = np.quantile(soft_mean[mask], 0.5, method="lower")
    lungs = binary_erosion(mask, np.ones((side, side))) & (soft_mean < median)
    return lungs & (bone_hp > 0.10), lungs & (bone_hp < -0.02)


def tumour_regions(spot: Spot, mask: Image) -> Regions:
    """Return the disc of 0.35 diameters about the centre and the ring from 0.75 to 1.5."""
    rows, columns = np.indices(mask.shape)
    squared = ((rows - spot.row_px) ** 2 + (columns - spot.column_px) ** 2) / spot.diameter_px**2
    ring = (squared >= 0.75**2) & (squared <= 1.5**2)
    return mask & (squared <= 0.35**2), mask & ring


def anatomy_limited(images: Sequence[Image], regions: Regions, pixel_mm: float) -> list[float]:
    """Return |signal - background| over the spread of the background, for each image."""
    sigma_px = window_px(pixel_mm)
    signal, background = (Near(region, sigma_px) for region in regions)
    far = Near(regions[1], 3 * sigma_px)
    weight = signal.weight * background.weight
    ratios = []
    for image in images:
        difference = (weight * (signal.mean(image) - background.mean(image))).sum() / weight.sum()
        spread = (image - far.mean(image))[regions[1]].std(ddof=1)
        ratios.append(float(abs(difference) / spread))
    return ratios


def suppression(hp: Stages, bone_hp: Image) -> NDArray[np.float64]:
    """Return the four sums: squared errors, then products with bone; each after and before."""
    error, other = hp["prediction"] - hp["truth"], hp["input"] - hp["truth"]
    return np.array([
        (error**2).sum(), (other**2).sum(), (error * bone_hp).sum(), (other * bone_hp).sum()
    ])  # fmt: skip


def localisation_error_px(image_hp: Image, truth_hp: Image, spot: Spot, search_px: int) -> float:
    """Return the distance between where image and truth have the truth's patch."""
    radius = max(3, math.ceil(spot.diameter_px))
    reach = radius + search_px
    top, left = round(spot.row_px), round(spot.column_px)
    patch = np.pad(truth_hp, reach)[
        top + search_px : top + search_px + 2 * radius + 1,
        left + search_px : left + search_px + 2 * radius + 1,
    ]
    places = []
    for image in (truth_hp, image_hp):
        window = np.pad(image, reach)[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
        similarity = match_template(window, patch)
        peak = np.unravel_index(np.argmax(similarity), similarity.shape)
        places.append([
            peak[0] + parabola(similarity[:, peak[1]], int(peak[0])),
            peak[1] + parabola(similarity[peak[0]], int(peak[1])),
        ])  # fmt: skip
    return math.dist(*places)


def parabola(values: Image, peak: int) -> float:
    """Return how far the top of the parabola lies from a maximum."""
    if not 0 < peak < len(values) - 1:
        return 0.0
    before, here, after = values[peak - 1 : peak + 2]
    return float(np.clip(0.5 * (before - after) / (before - 2 * here + after), -0.5, 0.5))
