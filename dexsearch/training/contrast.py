"""Contrast between neighbouring places: what an eye sees in an image, as numbers.

A body that grows thicker from its rim to its centre is no contrast; a rib beside the space between
two ribs is. So images lose their mean within a centimetre or so before anything is compared.
Axes  B views, H rows, W columns.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dexsearch.training.bands import gaussian_filter
from dexsearch.training.metrics import EROSION_PX, erode

NEIGHBOURHOOD_MM = 10.0
"""Standard deviation of the window that says what is beside what: half the pitch of ribs."""

_SMALLEST_NEIGHBOURHOOD_PX = 1.5
_SMALLEST_WEIGHT = 1e-6
_LEAST_INDEPENDENCE = 1e-4


def contrast_per_cm(
    image: Float[Tensor, "B H W"],
    soft_cm: Float[Tensor, "B H W"],
    bone_cm: Float[Tensor, "B H W"],
    mask: Bool[Tensor, "B H W"],
    *,
    pixel_mm: float,
) -> tuple[float, float]:
    """Return the contrast of soft tissue and of bone in images, in the images' unit per cm.

    The slopes of the image on both thicknesses, fitted together to all pixels inside the masks
    eroded by 5 px, each without its local mean. Together, because a rib takes the place of soft
    tissue: fitted alone, each slope would hold a part of the other.

    Raises:
        ValueError: if the thicknesses do not vary, or only together, or the pixel size is not
            above 0.
    """
    sigma_px = neighbourhood_px(pixel_mm)
    inner = erode(mask[:, None], EROSION_PX)[:, 0]
    detail, soft, bone = (
        high_pass(values, mask, sigma_px=sigma_px)[inner].double()
        for values in (image, soft_cm, bone_cm)
    )
    thickness = torch.stack((soft, bone))
    squares = thickness @ thickness.T
    if not torch.linalg.det(squares) > _LEAST_INDEPENDENCE * squares[0, 0] * squares[1, 1]:
        raise ValueError(
            "got thicknesses of soft tissue and bone that do not vary independently inside the "
            "eroded masks, so their contrasts cannot be told apart"
        )
    slopes = torch.linalg.solve(squares, thickness @ detail)
    return float(slopes[0]), float(slopes[1])


def neighbourhood_px(pixel_mm: float) -> float:
    """Return the standard deviation of the window in pixels; at least 1.5, or nothing is near.

    Raises:
        ValueError: if the pixel size is not above 0.
    """
    if not 0 < pixel_mm < math.inf:
        raise ValueError(f"got pixels of {pixel_mm!r} mm; the pixel size is above 0")
    return max(_SMALLEST_NEIGHBOURHOOD_PX, NEIGHBOURHOOD_MM / pixel_mm)


def local_mean(
    images: Float[Tensor, "*batch H W"],
    mask: Bool[Tensor, "*body H W"],
    *,
    sigma_px: float,
) -> Float[Tensor, "*batch H W"]:
    """Average over the pixels of `mask` near each pixel; 0 where there is none near.

    `mask` may have size 1 where `images` have several that share it: its window is taken once.
    """
    return _mean_near(torch.where(mask, images, 0.0), mask.to(images.dtype), sigma_px)


def high_pass(
    images: Float[Tensor, "*batch H W"], mask: Bool[Tensor, "*body H W"], *, sigma_px: float
) -> Float[Tensor, "*batch H W"]:
    """Return how much each pixel of `mask` differs from the mask near it; 0 elsewhere."""
    inside, weight = torch.where(mask, images, 0.0), mask.to(images.dtype)
    return (inside - _mean_near(inside, weight, sigma_px)) * weight


def _mean_near(inside: Tensor, weight: Tensor, sigma_px: float) -> Tensor:
    """Average images that are 0 outside a mask of ones and zeros; constants stay exact."""
    near = blur(weight, sigma_px)
    return blur(inside, sigma_px) / torch.where(near > _SMALLEST_WEIGHT, near, math.inf)


def blur(images: Float[Tensor, "*batch H W"], sigma_px: float) -> Float[Tensor, "*batch H W"]:
    """Filter with a Gaussian cut at 3 sigma; what lies beyond the image counts as 0.

    Raises:
        ValueError: if the standard deviation is not above 0.
    """
    if not 0 < sigma_px < math.inf:
        raise ValueError(f"got a standard deviation of {sigma_px!r} pixels; it is above 0")
    height, width = images.shape[-2:]
    planes = images.reshape(-1, height, width).transpose(0, 1)
    filtered = gaussian_filter(
        planes, sigma_px=sigma_px, radius_px=window_radius_px(sigma_px), edges="zero"
    )
    return filtered.transpose(0, 1).reshape(images.shape)


def window_radius_px(sigma_px: float) -> int:
    """Return how far the window of `blur` reaches."""
    return max(1, math.ceil(3 * sigma_px))
