"""Signal-difference-to-noise ratio of ribs and tumours: how well a structure can be seen.

    SDNR = |signal region - background beside it| / sigma

sigma       Two ratios differ in it. *Quantum-limited*: the noise of two independent exposures of
            one view, the standard deviation of their difference / sqrt 2 in both regions; it
            rises with the dose without end. *Anatomy-limited*: the standard deviation of one
            exposure in the background, noise and crossing structures together; it is what hides
            a tumour behind ribs, and no dose helps against it.
difference  Taken between neighbours, weighted by a Gaussian window, so that a shading that runs
            across the image is no signal.
Axes        B views, H rows, W columns. Images in any unit; the ratio has none.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dexsearch.training.contrast import NEIGHBOURHOOD_MM, blur, high_pass, local_mean
from dexsearch.training.metrics import erode

EROSION_MM = 10.0
RIB_ABOVE_CM = 0.10
GAP_BELOW_CM = -0.02
_CORE_DIAMETERS = 0.35
_RING_DIAMETERS = (0.75, 1.5)


@dataclass(frozen=True, slots=True)
class Regions:
    """Where a structure is and where its background is, in every view."""

    signal: Bool[Tensor, "B *K H W"]
    background: Bool[Tensor, "B *K H W"]


@dataclass(frozen=True, slots=True)
class Visibility:
    """The ratios of every view; NaN where a region is empty."""

    difference: Float[Tensor, " B"]
    """Signal minus background in the unit of the image, with its sign."""

    quantum: Float[Tensor, " B"]
    """|difference| / noise of one exposure."""

    anatomy: Float[Tensor, " B"]
    """|difference| / spread of the background."""


def rib_regions(
    soft_cm: Float[Tensor, "B H W"],
    bone_cm: Float[Tensor, "B H W"],
    mask: Bool[Tensor, "B H W"],
    *,
    pixel_mm: float,
) -> Regions:
    """Find ribs over the lungs, and the intercostal spaces between them.

    A rib has over 1 mm more bone than its neighbourhood, a space less bone than it. Over the
    lungs: less soft tissue nearby than the median of the body, which leaves the spine out.
    """
    inner = erode(mask[:, None], max(1, round(EROSION_MM / pixel_mm)))[:, 0]
    sigma_px = NEIGHBOURHOOD_MM / pixel_mm
    soft = local_mean(soft_cm, mask, sigma_px=sigma_px)
    median = torch.where(mask, soft, math.nan).flatten(1).nanmedian(dim=1).values
    lungs = inner & (soft < median.view(-1, 1, 1))
    bone = high_pass(bone_cm, mask, sigma_px=sigma_px)
    return Regions(signal=lungs & (bone > RIB_ABOVE_CM), background=lungs & (bone < GAP_BELOW_CM))


def tumour_regions(
    row_px: Float[Tensor, " B"],
    column_px: Float[Tensor, " B"],
    diameter_px: Float[Tensor, " B"],
    mask: Bool[Tensor, "B H W"],
) -> Regions:
    """Return the core of a tumour and the ring around it, inside the body.

    Args:
        row_px: the centre in this view, pixel centres at whole numbers.
        column_px: the same along a row.
        diameter_px: diameter on the detector.
        mask: the body.
    """
    height, width = mask.shape[-2:]
    rows = torch.arange(height, device=mask.device).view(1, -1, 1) - row_px.view(-1, 1, 1)
    columns = torch.arange(width, device=mask.device).view(1, 1, -1) - column_px.view(-1, 1, 1)
    distance = torch.hypot(rows, columns) / diameter_px.view(-1, 1, 1)
    nearest, farthest = _RING_DIAMETERS
    return Regions(
        signal=mask & (distance <= _CORE_DIAMETERS),
        background=mask & (distance >= nearest) & (distance <= farthest),
    )


def anatomy_limited(
    images: Float[Tensor, "B K H W"], regions: Regions, *, pixel_mm: float
) -> Float[Tensor, "B K"]:
    """Return the anatomy-limited ratio of a structure in K images of every view.

    One exposure is enough for it, so it is what predictions can be scored by. NaN where a region
    is empty.

    Raises:
        ValueError: if the pixel size is not above 0.
    """
    sigma_px = _neighbourhood_px(pixel_mm)
    shared = Regions(regions.signal[:, None], regions.background[:, None])
    difference = _local_difference(images, shared, sigma_px)
    return difference.abs() / _anatomy(images, shared.background, sigma_px)


def visibility(
    first: Float[Tensor, "B H W"],
    second: Float[Tensor, "B H W"],
    regions: Regions,
    *,
    pixel_mm: float,
) -> Visibility:
    """Return both ratios of a structure in two independent exposures of the same views.

    Raises:
        ValueError: if the two are the same exposure, so that their noise cannot be told.
    """
    if torch.equal(first, second):
        raise ValueError("got the same exposure twice; noise needs two independent ones")
    sigma_px = _neighbourhood_px(pixel_mm)
    mean = (first + second) / 2
    difference = _local_difference(mean, regions, sigma_px)
    both = regions.signal | regions.background
    noise = _deviation((first - second) / math.sqrt(2), both)
    return Visibility(
        difference=difference,
        quantum=difference.abs() / noise,
        anatomy=difference.abs() / _anatomy(first, regions.background, sigma_px),
    )


def _neighbourhood_px(pixel_mm: float) -> float:
    if not 0 < pixel_mm < math.inf:
        raise ValueError(f"got pixels of {pixel_mm!r} mm; the pixel size is above 0")
    return NEIGHBOURHOOD_MM / pixel_mm


def _anatomy(images: Tensor, background: Tensor, sigma_px: float) -> Tensor:
    """Return the spread of the background about its shading, noise and structures together."""
    shading = local_mean(images, background, sigma_px=3 * sigma_px)
    return _deviation(images - shading, background)


def _local_difference(images: Tensor, regions: Regions, sigma_px: float) -> Tensor:
    """Average signal minus background where both are near, per image; NaN where never."""
    signal, background = (
        blur(region.to(images.dtype), sigma_px) for region in (regions.signal, regions.background)
    )
    weight = signal * background
    difference = local_mean(images, regions.signal, sigma_px=sigma_px, weight=signal) - local_mean(
        images, regions.background, sigma_px=sigma_px, weight=background
    )
    return (weight * difference).sum(dim=(-2, -1)) / weight.sum(dim=(-2, -1))


def _deviation(values: Tensor, mask: Tensor) -> Tensor:
    """Return the standard deviation over the pixels of `mask`, per image."""
    count = mask.sum(dim=(-2, -1))
    mean = torch.where(mask, values, 0.0).sum(dim=(-2, -1)) / count
    squares = torch.where(mask, values - mean[..., None, None], 0.0).square()
    return (squares.sum(dim=(-2, -1)) / (count - 1)).sqrt()
