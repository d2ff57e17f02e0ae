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

from dexsearch.training.contrast import (
    blur,
    high_pass,
    local_mean,
    neighbourhood_px,
    window_radius_px,
)
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
    images, regions = _cropped(images, regions, margin_px=window_radius_px(sigma_px))
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
    noise = _deviation(torch.where(both, first - second, 0.0) / math.sqrt(2), both)
    return Visibility(
        difference=difference,
        quantum=difference.abs() / noise,
        anatomy=_ratio(difference, _anatomy(one, regions.background, sigma_px), scale),
    )


def _cropped(images: Tensor, regions: Regions, *, margin_px: int) -> tuple[Tensor, Regions]:
    """Cut every view to one size about its regions; what is left out can change no ratio.

    A tumour and its ring are a small part of a view. No window at a pixel of a region meets a
    region beyond the cut, and the windows of both meet nowhere beyond the margin.
    """
    (rows, height), (columns, width) = (
        _reach((regions.signal | regions.background).any(dim=axis), margin_px) for axis in (-1, -2)
    )
    if (height, width) == images.shape[-2:]:
        return images, regions
    boxes = [
        (..., slice(row, row + height), slice(column, column + width))
        for row, column in zip(rows, columns, strict=True)
    ]

    def cut(views: Tensor) -> Tensor:
        return torch.stack([view[box] for view, box in zip(views, boxes, strict=True)])

    return cut(images), Regions(cut(regions.signal), cut(regions.background))


def _reach(lines: Bool[Tensor, "B N"], margin_px: int) -> tuple[list[int], int]:
    """Return where the lines of each view that hold a region begin, and how many all views keep.

    Both include the margin and stay within the image: beyond it no window may look.
    """
    n_lines = lines.shape[1]
    first = lines.byte().argmax(dim=1)
    last = n_lines - lines.flip(1).byte().argmax(dim=1)
    longest = int(torch.where(lines.any(dim=1), last - first, 1).max())
    kept = min(n_lines, longest + 2 * margin_px)
    return (first - margin_px).clamp(0, n_lines - kept).tolist(), kept


def _centred(images: Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
    """Return images less their means over both regions, 0 elsewhere, and their largest values.

    Summed in float64, the mean of a constant image is that constant to the last bit of float32.
    """
    both = regions.signal | regions.background
    inside = torch.where(both, images, 0.0)
    mean = inside.sum(dim=(-2, -1), dtype=torch.float64) / both.sum(dim=(-2, -1))
    centred = (inside - mean.to(images.dtype)[..., None, None]) * both
    return centred, inside.abs().amax(dim=(-2, -1))


def _ratio(difference: Tensor, spread: Tensor, scale: Tensor) -> Tensor:
    """Divide, where what is rounding counts as 0 and no difference has ratio 0; NaN stays."""
    size, spread = (
        torch.where(value <= _ROUNDING * scale, 0.0, value) for value in (difference.abs(), spread)
    )
    return size / torch.where((size == 0) & (spread == 0), 1.0, spread)


def _anatomy(images: Tensor, background: Tensor, sigma_px: float) -> Tensor:
    """Return the spread of the background about its shading, noise and structures together."""
    return _deviation(high_pass(images, background, sigma_px=3 * sigma_px), background)


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
    """Return the standard deviation over the pixels of `mask`, per image; 0 beyond them."""
    count = mask.sum(dim=(-2, -1))
    mean = values.sum(dim=(-2, -1)) / count
    squares = ((values - mean[..., None, None]) * mask).square()
    return (squares.sum(dim=(-2, -1)) / (count - 1)).sqrt()
