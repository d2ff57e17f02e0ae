"""The scores of `dexsearch.training.quality`, one image at a time in NumPy, SciPy, scikit-image.

Slow and plain on purpose: benchmarks/metrics.py and the tests hold the batched ones against it.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter
from skimage.feature import match_template
from skimage.metrics import structural_similarity

Image = NDArray[Any]


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


def blur(image: Image, sigma_px: float) -> Image:
    """Filter with a Gaussian cut at 3 sigma, nothing beyond the image."""
    radius = max(1, math.ceil(3 * sigma_px))
    filtered: Image = gaussian_filter(
        image.astype(np.float32), sigma_px, mode="constant", radius=radius
    )
    return filtered


def local_mean(image: Image, mask: Image, sigma_px: float) -> Image:
    """Average over the pixels of the mask near each pixel."""
    weight = blur(mask, sigma_px)
    mean: Image = np.where(
        weight > 1e-6, blur(np.where(mask, image, 0), sigma_px) / np.maximum(weight, 1e-6), 0
    )
    return mean


def high_pass(image: Image, mask: Image, sigma_px: float) -> Image:
    """Return the image less its local mean inside the mask."""
    detail: Image = np.where(mask, image - local_mean(image, mask, sigma_px), 0)
    return detail


def anatomy_limited(image: Image, signal: Image, background: Image, pixel_mm: float) -> float:
    """Return |signal - background| over the spread of the background."""
    sigma = 10.0 / pixel_mm
    weight = blur(signal, sigma) * blur(background, sigma)
    difference = local_mean(image, signal, sigma) - local_mean(image, background, sigma)
    residue = image - local_mean(image, background, 3 * sigma)
    spread = residue[background].std(ddof=1)
    return float(abs((weight * difference).sum() / weight.sum()) / spread)


def suppression(
    prediction: Image, truth: Image, before: Image, bone: Image, mask: Image, pixel_mm: float
) -> NDArray[np.float64]:
    """Return the four sums: squared errors, then products with bone; each after and before."""
    sigma = max(1.5, 10.0 / pixel_mm)
    error, other, thickness = (
        high_pass(image, mask, sigma) for image in (prediction - truth, before - truth, bone)
    )
    return np.array([
        (error**2).sum(), (other**2).sum(), (error * thickness).sum(), (other * thickness).sum()
    ])  # fmt: skip


def localisation_error_px(
    image_hp: Image, truth_hp: Image, row: float, column: float, diameter_px: float, search_px: int
) -> float:
    """Return the distance between where image and truth have the truth's patch."""
    radius = max(3, math.ceil(diameter_px))
    reach = radius + search_px
    top, left = round(row), round(column)
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
