"""Image scores: SSIM, PSNR and mean absolute error, batched on the training device.

Axes       B images, C targets, H rows, W columns.
Definition number `METRIC_DEFINITION`: SSIM of Wang et al. 2004 with a Gaussian window of 11 pixels
           (sigma 1.5), K1 = .01, K2 = .03, population covariance, one constant data range per
           target, averaged over the body mask eroded by 5 pixels, so that every window lies wholly
           inside the body. Whatever lies outside the image counts as outside the body.
Oracle     `skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5,
           use_sample_covariance=False, full=True)`; ours agrees within 1e-5 in float32.
Source     doi:10.1109/TIP.2003.819861.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from dexsearch.training.bands import gaussian_filter

METRIC_DEFINITION: int = 1
"""Number stored beside every score; raised only when the values change."""

WINDOW_PX = 11
"""Side of the SSIM window."""

EROSION_PX = WINDOW_PX // 2
"""Margin inside the body mask that keeps every window inside the body."""

_SIGMA_PX = 1.5
_K1 = 0.01
_K2 = 0.03
_SMALLEST_MEAN_SQUARE = 1e-12
_PIXELS_AT_ONCE = 2**17


@dataclass(frozen=True, slots=True)
class ImageScores:
    """Scores of each image and target."""

    ssim: Float[Tensor, "B C"]
    """SSIM averaged over the eroded body mask; NaN where nothing is left of the mask."""

    whole_ssim: Float[Tensor, "B C"]
    """SSIM averaged over the image without its 5-pixel border."""

    psnr: Float[Tensor, "B C"]
    """Peak signal-to-noise ratio in the body mask, dB; at most 120."""

    mae: Float[Tensor, "B C"]
    """Mean absolute error in the body mask, in the unit of the images."""


def score_images(
    prediction: Float[Tensor, "B C H W"],
    truth: Float[Tensor, "B C H W"],
    *,
    data_range: float | Sequence[float],
    mask: Bool[Tensor, "B 1 H W"],
    eroded: Bool[Tensor, "B 1 H W"] | None = None,
) -> ImageScores:
    """Compute every score at once; see the functions below for each of them.

    `eroded` is `erode(mask, EROSION_PX)` where the caller has it already.
    """
    similarity = ssim_map(prediction, truth, data_range=data_range)
    return ImageScores(
        ssim=_mean_inside(similarity, erode(mask, EROSION_PX) if eroded is None else eroded),
        whole_ssim=_mean_without_border(similarity),
        psnr=psnr(prediction, truth, data_range=data_range, mask=mask),
        mae=mae(prediction, truth, mask=mask),
    )


def ssim_map(
    prediction: Float[Tensor, "B C H W"],
    truth: Float[Tensor, "B C H W"],
    *,
    data_range: float | Sequence[float],
) -> Float[Tensor, "B C H W"]:
    """Return the structural similarity at every pixel, images mirrored at their edges.

    Args:
        prediction: images in any unit.
        truth: images in the same unit.
        data_range: one constant for all targets, or one per target, in the same unit.

    Raises:
        ValueError: if a data range is not positive or an image is smaller than the window.
    """
    height, width = truth.shape[-2:]
    if min(height, width) < WINDOW_PX:
        raise ValueError(
            f"got images of {height} x {width} px; SSIM needs at least {WINDOW_PX} px a side"
        )
    scale = _range_per_target(data_range, truth)
    step = _images_at_once(truth)
    pairs = zip(torch.split(prediction, step), torch.split(truth, step), strict=True)
    return torch.cat([_ssim_map(x, y, scale) for x, y in pairs])


def _ssim_map(prediction: Tensor, truth: Tensor, scale: Tensor) -> Tensor:
    """Compute the map from the moments of the sum and the difference of both images.

    With s = x + y and d = x - y, four windows are enough and hardly anything cancels:
    4 cov(x, y) = var(s) - var(d), 2 (var(x) + var(y)) = var(s) + var(d), and alike for the means.
    """
    x, y = _at_least_float32(prediction) / scale, _at_least_float32(truth) / scale
    # Variances do not depend on a common offset; removing it keeps float32 from cancelling.
    offset = y.mean(dim=(-2, -1), keepdim=True)
    x, y = ((image - offset).permute(2, 0, 1, 3) for image in (x, y))  # rows first
    both = torch.stack((x + y, x - y), dim=1)
    planes = torch.cat((both, both * both), dim=1)
    height, width = planes.shape[0], planes.shape[-1]
    moments = gaussian_filter(
        planes.view(height, -1, width), sigma_px=_SIGMA_PX, radius_px=EROSION_PX, edges="mirror"
    ).view(planes.shape)
    mean, mean_square = moments[:, :2], moments[:, 2:]
    variance = torch.addcmul(mean_square, mean, mean, value=-1)
    sum_squared = (mean[:, 0] + 2 * offset.permute(2, 0, 1, 3)).square()
    difference_squared = mean[:, 1].square()
    c1, c2 = 2 * _K1**2, 2 * _K2**2
    numerator = (sum_squared - difference_squared + c1) * (variance[:, 0] - variance[:, 1] + c2)
    denominator = (sum_squared + difference_squared + c1) * (variance[:, 0] + variance[:, 1] + c2)
    return (numerator / denominator).permute(1, 2, 0, 3)


def masked_ssim(
    prediction: Float[Tensor, "B C H W"],
    truth: Float[Tensor, "B C H W"],
    *,
    data_range: float | Sequence[float],
    mask: Bool[Tensor, "B 1 H W"],
) -> Float[Tensor, "B C"]:
    """Return the pinned score: SSIM averaged over `mask` eroded by 5 pixels.

    NaN where erosion leaves nothing of an image's mask.
    """
    similarity = ssim_map(prediction, truth, data_range=data_range)
    return _mean_inside(similarity, erode(mask, EROSION_PX))


def whole_ssim(
    prediction: Float[Tensor, "B C H W"],
    truth: Float[Tensor, "B C H W"],
    *,
    data_range: float | Sequence[float],
) -> Float[Tensor, "B C"]:
    """Return SSIM averaged over the image without its 5-pixel border, as scikit-image does."""
    return _mean_without_border(ssim_map(prediction, truth, data_range=data_range))


def psnr(
    prediction: Float[Tensor, "B C H W"],
    truth: Float[Tensor, "B C H W"],
    *,
    data_range: float | Sequence[float],
    mask: Bool[Tensor, "B 1 H W"],
) -> Float[Tensor, "B C"]:
    """Return the peak signal-to-noise ratio inside `mask` in dB, at most 120."""
    difference = (_at_least_float32(prediction) - truth) / _range_per_target(data_range, truth)
    return -10 * _mean_inside(difference.square(), mask).clamp_min(_SMALLEST_MEAN_SQUARE).log10()


def mae(
    prediction: Float[Tensor, "B C H W"],
    truth: Float[Tensor, "B C H W"],
    *,
    mask: Bool[Tensor, "B 1 H W"],
) -> Float[Tensor, "B C"]:
    """Return the mean absolute error inside `mask`, in the unit of the images."""
    return _mean_inside((_at_least_float32(prediction) - truth).abs(), mask)


def erode(mask: Bool[Tensor, "B 1 H W"], radius_px: int) -> Bool[Tensor, "B 1 H W"]:
    """Keep the pixels whose square neighbourhood of side `2 radius_px + 1` is all inside `mask`.

    Pixels beyond the image count as outside.
    """
    # Windows of doubling length, one axis after the other: a few products of bytes.
    inside = functional.pad(mask.to(torch.uint8), [radius_px] * 4)
    for axis in (-2, -1):
        length = 1
        while length <= 2 * radius_px:
            step = min(length, 2 * radius_px + 1 - length)
            n_left = inside.shape[axis] - step
            inside = inside.narrow(axis, 0, n_left) & inside.narrow(axis, step, n_left)
            length += step
    return inside.bool()


def _range_per_target(data_range: float | Sequence[float], truth: Tensor) -> Tensor:
    """Return the data ranges as a tensor that divides images."""
    ranges = [data_range] if isinstance(data_range, int | float) else list(data_range)
    if not all(math.isfinite(value) and value > 0 for value in ranges):
        raise ValueError(f"got data_range={data_range!r}; every data range must be above 0")
    if len(ranges) not in (1, truth.shape[1]):
        raise ValueError(
            f"got {len(ranges)} data ranges for {truth.shape[1]} targets; give one, or one each"
        )
    dtype = torch.float64 if truth.dtype is torch.float64 else torch.float32
    return torch.tensor(ranges, device=truth.device, dtype=dtype).view(-1, 1, 1)


def _at_least_float32(images: Tensor) -> Tensor:
    """Convert half precision to float32; keep float32 and float64."""
    return images if images.dtype is torch.float64 else images.float()


def _mean_inside(values: Tensor, mask: Tensor) -> Tensor:
    """Average over the pixels of `mask`; NaN where there is none."""
    total = torch.where(mask, values, 0.0).sum(dim=(-2, -1))
    return total / mask.sum(dim=(-2, -1))


def _mean_without_border(similarity: Tensor) -> Tensor:
    inner = similarity[..., EROSION_PX:-EROSION_PX, EROSION_PX:-EROSION_PX]
    return inner.mean(dim=(-2, -1))


def _images_at_once(images: Tensor) -> int:
    """Return how many images fit a processor's cache; all of them on a GPU."""
    n_images, n_targets, height, width = images.shape
    if images.device.type == "cuda":
        return max(1, n_images)
    return max(1, _PIXELS_AT_ONCE // (n_targets * height * width))
