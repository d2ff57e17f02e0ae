"""Signal-difference-to-noise ratio of ribs and tumours: how well a structure can be seen.

    SDNR = |signal region - background beside it| / sigma

sigma       Two ratios differ in it. *Quantum-limited*: the noise of two independent exposures of
            one view, the standard deviation of their difference / sqrt 2 in both regions; it
            rises with the dose without end. *Anatomy-limited*: the standard deviation of one
            exposure in the background, noise and crossing structures together; it is what hides
            a tumour behind ribs, and no dose helps against it.
difference  Taken between neighbours, weighted by a Gaussian window, so that a shading that runs
            across the image is no signal.
nothing     What differs by less than a millionth of the image's largest value is rounding. An
            image that shows no difference has ratio 0, a constant one too; one that shows a
            difference before a background without any variation has an infinite ratio.
Axes        B views, H rows, W columns. Images in any unit; the ratio has none.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dexsearch.training.contrast import blur, local_mean, neighbourhood_px
from dexsearch.training.metrics import erode

EROSION_MM = 10.0
RIB_ABOVE_CM = 0.10
GAP_BELOW_CM = -0.02
_CORE_DIAMETERS = 0.35
_RING_DIAMETERS = (0.75, 1.5)
_ROUNDING = 1e-6


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
    means = local_mean(
        torch.stack((soft_cm, bone_cm), dim=1), mask[:, None], sigma_px=neighbourhood_px(pixel_mm)
    )
    soft, bone = means[:, 0], bone_cm - means[:, 1]
    median = torch.where(mask, soft, math.nan).flatten(1).nanmedian(dim=1).values
    lungs = inner & (soft < median.view(-1, 1, 1))
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
    is empty, whatever the images; 0 where an image shows nothing.

    Raises:
        ValueError: if the pixel size is not above 0.
    """
    sigma_px = neighbourhood_px(pixel_mm)
    shared = Regions(regions.signal[:, None], regions.background[:, None])
    centred, scale = _centred(images, shared)
    difference = _local_difference(centred, shared, sigma_px)
    return _ratio(difference, _anatomy(centred, shared.background, sigma_px), scale)


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
    sigma_px = neighbourhood_px(pixel_mm)
    mean, _ = _centred((first + second) / 2, regions)
    one, scale = _centred(first, regions)
    difference = _local_difference(mean, regions, sigma_px)
    both = regions.signal | regions.background
    noise = _deviation((first - second) / math.sqrt(2), both)
    return Visibility(
        difference=difference,
        quantum=difference.abs() / noise,
        anatomy=_ratio(difference, _anatomy(one, regions.background, sigma_px), scale),
    )


def _centred(images: Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
    """Return images less their means over both regions, 0 elsewhere, and their largest values.

    Summed in float64, the mean of a constant image is that constant to the last bit of float32.
    """
    both = regions.signal | regions.background
    inside = torch.where(both, images, 0.0)
    mean = inside.sum(dim=(-2, -1), dtype=torch.float64) / both.sum(dim=(-2, -1))
    centred = torch.where(both, images - mean.to(images.dtype)[..., None, None], 0.0)
    return centred, inside.abs().amax(dim=(-2, -1))


def _ratio(difference: Tensor, spread: Tensor, scale: Tensor) -> Tensor:
    """Divide, where what is rounding counts as 0 and no difference has ratio 0; NaN stays."""
    size, spread = (
        torch.where(value <= _ROUNDING * scale, 0.0, value) for value in (difference.abs(), spread)
    )
    return size / torch.where((size == 0) & (spread == 0), 1.0, spread)


def _anatomy(images: Tensor, background: Tensor, sigma_px: float) -> Tensor:
    """Return the spread of the background about its shading, noise and structures together."""
    shading = local_mean(images, background, sigma_px=3 * sigma_px)
    return _deviation(images - shading, background)


def _local_difference(images: Tensor, regions: Regions, sigma_px: float) -> Tensor:
    """Average signal minus background where both are near, per image; NaN where never.

    With G the window, S and B the regions, the average of G(S x) / G(S) - G(B x) / G(B) weighted
    by G(S) G(B). G is symmetric, so that its sum is that of x times S G(G(B)) - B G(G(S)): weights
    of the pixels that all images of a view share.
    """
    signal, background = regions.signal.to(images.dtype), regions.background.to(images.dtype)
    near = blur(torch.stack((signal, background)), sigma_px)
    far = blur(near, sigma_px)
    weights = signal * far[1] - background * far[0]
    return (weights * images).sum(dim=(-2, -1)) / (near[0] * near[1]).sum(dim=(-2, -1))


def _deviation(values: Tensor, mask: Tensor) -> Tensor:
    """Return the standard deviation over the pixels of `mask`, per image."""
    count = mask.sum(dim=(-2, -1))
    mean = torch.where(mask, values, 0.0).sum(dim=(-2, -1)) / count
    squares = torch.where(mask, values - mean[..., None, None], 0.0).square()
    return (squares.sum(dim=(-2, -1)) / (count - 1)).sqrt()
