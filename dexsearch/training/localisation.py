"""Where a known tumour is found in an image, by template matching: the error in mm.

    1. The truth around the known centre is the template: a square of two tumour diameters a side.
    2. It is laid over the image at every whole shift up to 15 mm, and the shift of the largest
       normalised cross-correlation is taken, refined by a parabola along each axis.
    3. The error is the distance from where the same search finds the template in the truth
       itself, so that the truth scores 0 exactly and the parabola's bias cancels.

Images come without their local mean (`suppression.details`): a body that grows thicker is no
tumour, and what lies outside the body is 0 everywhere. Where nothing correlates, as in a constant
image, the first shift of the search is taken, its corner: no image can be farther off. That is
sqrt 2 times the reach, 15 mm rounded to whole pixels, at the tumour's depth: 21.2 mm on pixels of
3 mm, 22.6 mm on pixels of 4 mm.
Axes    B images, K kinds of them, H rows, W columns, D shifts a side.
Oracle  `skimage.feature.match_template`.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dexsearch.data.tumours import Tumours

SEARCH_MM = 15.0
"""How far from its place a tumour is looked for, along rows and along columns."""

_SMALLEST_RADIUS_PX = 3
_SMALLEST_SEARCH_PX = 2
_SMALLEST_SPREAD = 1e-3
"""An image that varies less than this share of the template's contrast is constant."""


def localisation_error_mm(
    images_hp: Float[Tensor, "B K H W"],
    truth_hp: Float[Tensor, "B H W"],
    tumours: Tumours,
    mask: Bool[Tensor, "B 1 H W"],
    *,
    pixel_mm: float,
) -> Float[Tensor, "B K"]:
    """Return how far each tumour is found from where the truth has it, in mm at its depth.

    NaN where no tumour is known, where its centre lies outside the body, and where the truth
    shows nothing of it.

    Raises:
        ValueError: if the pixel size is not above 0.
    """
    if not 0 < pixel_mm < math.inf:
        raise ValueError(f"got pixels of {pixel_mm!r} mm; the pixel size is above 0")
    errors = torch.full_like(images_hp[:, :, 0, 0], torch.nan)
    seen = _inside(tumours, mask).nonzero().flatten()
    if len(seen) == 0:
        return errors
    found = _found_px(
        torch.cat((truth_hp[seen, None], images_hp[seen]), dim=1),
        tumours.row_px[seen].round().long(),
        tumours.column_px[seen].round().long(),
        tumours.diameter_px[seen].ceil().long().clamp_min(_SMALLEST_RADIUS_PX),
        search_px=max(_SMALLEST_SEARCH_PX, round(SEARCH_MM / pixel_mm)),
    )
    distance_px = (found[:, 1:] - found[:, :1]).norm(dim=-1)
    errors[seen] = (distance_px * tumours.pixel_mm[seen, None]).to(errors.dtype)
    return errors


def _inside(tumours: Tumours, mask: Tensor) -> Tensor:
    """Tell which tumours are known and have their centres in the body."""
    height, width = mask.shape[-2:]
    rows, columns = (
        torch.nan_to_num(centre, nan=-1.0).round().long()
        for centre in (tumours.row_px, tumours.column_px)
    )
    within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width) & tumours.known
    image = torch.arange(len(mask), device=mask.device)
    body: Tensor = mask[image, 0, rows.clamp(0, height - 1), columns.clamp(0, width - 1)]
    return within & body


def _found_px(
    images: Tensor, rows: Tensor, columns: Tensor, radius_px: Tensor, *, search_px: int
) -> Tensor:
    """Return the best shift (B K 2) of the first image's patch in every image, sub-pixel."""
    largest = int(radius_px.max())
    crops = _crops(images, rows, columns, reach_px=largest + search_px).double()
    patch = crops[:, :1, search_px:-search_px, search_px:-search_px]
    distance = torch.arange(-largest, largest + 1, device=images.device).abs()
    line = distance <= radius_px.view(-1, 1)
    square = (line[:, None, :, None] & line[:, None, None, :]).double()
    count = square.sum(dim=(-2, -1), keepdim=True)
    mean = (square * patch).sum(dim=(-2, -1), keepdim=True) / count
    template = square * (patch - mean)
    products, sums, squares = _correlations(crops, template, square, n_shifts=2 * search_px + 1)
    contrast = template.square().sum(dim=(-2, -1), keepdim=True)
    spread = squares - sums.square() / count
    similarity = products / (contrast * spread.clamp_min(_SMALLEST_SPREAD**2 * contrast)).sqrt()
    shift = _peak(torch.where(spread > _SMALLEST_SPREAD**2 * contrast, similarity, 0.0))
    return torch.where(contrast[..., 0] > 0, shift, torch.nan)


def _crops(images: Tensor, rows: Tensor, columns: Tensor, *, reach_px: int) -> Tensor:
    """Cut squares around the centres; beyond the image there is nothing."""
    padded = torch.nn.functional.pad(images, [reach_px] * 4)
    steps = torch.arange(2 * reach_px + 1, device=images.device)
    image = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    crops = padded.permute(0, 2, 3, 1)[
        image, (rows.view(-1, 1) + steps)[:, :, None], (columns.view(-1, 1) + steps)[:, None, :]
    ]
    return crops.permute(0, 3, 1, 2)


def _correlations(
    crops: Tensor, template: Tensor, square: Tensor, *, n_shifts: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return sums of crop x template, crop and crop^2 over the square at every shift.

    By Fourier transforms of the crops' size: shifts that fit inside a crop do not wrap around.
    """
    size = crops.shape[-2:]
    once, twice = torch.fft.rfft2(crops), torch.fft.rfft2(crops.square())
    weight, window = (torch.fft.rfft2(kernel, s=size).conj() for kernel in (template, square))
    products, sums, squares = (
        torch.fft.irfft2(spectrum, s=size)[..., :n_shifts, :n_shifts]
        for spectrum in (once * weight, once * window, twice * window)
    )
    return products, sums, squares


def _peak(similarity: Tensor) -> Tensor:
    """Return the shift of the maximum, refined by parabolas, counted from the middle."""
    n_shifts = similarity.shape[-1]
    best = similarity.flatten(-2).argmax(dim=-1)
    row, column = best // n_shifts, best % n_shifts
    line = torch.take_along_dim(similarity, column[..., None, None], dim=-1).squeeze(-1)
    across = torch.take_along_dim(similarity, row[..., None, None], dim=-2).squeeze(-2)
    refined = torch.stack((_refined(line, row), _refined(across, column)), dim=-1)
    return refined - n_shifts // 2


def _refined(values: Tensor, peak: Tensor) -> Tensor:
    """Return the top of the parabola through a maximum and its neighbours; as is at the ends."""
    middle = peak.clamp(1, values.shape[-1] - 2)
    before, here, after = (
        torch.take_along_dim(values, (middle + step)[..., None], dim=-1).squeeze(-1)
        for step in (-1, 0, 1)
    )
    bend = before - 2 * here + after
    offset = torch.where(bend < 0, 0.5 * (before - after) / bend, 0.0).clamp(-0.5, 0.5)
    return peak + torch.where(middle == peak, offset, 0.0)
