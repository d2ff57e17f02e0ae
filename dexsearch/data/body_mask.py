"""Find the body in a raw image, whichever way its values run: what differs from the corners."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_CORNER_SHARE = 1 / 32  # of the shorter side
_BODY_SHARE = 0.05  # of the largest difference from the background
_NOISE_STDS = 4.0
_AGREEING_CORNERS = 3


def background(image: NDArray[np.float32]) -> float:
    """Return the value of an image where there is no body: the median of its four corners."""
    return float(np.median([np.median(corner) for corner in _corners(image)]))


def body_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where a raw input image shows something else than its background.

    The largest connected region that differs from the corners by 5 % of the image's contrast,
    and by more than the corners' own noise, with its holes filled. Everything where three of the
    four corners do not agree, because the body then reaches over the image's edge.
    """
    corners = _corners(image)
    empty = background(image)
    difference = np.abs(image - empty)
    noise = 1.4826 * float(np.median([np.median(np.abs(c - np.median(c))) for c in corners]))
    threshold = max(_BODY_SHARE * float(np.percentile(difference, 99.5)), _NOISE_STDS * noise)
    agreeing = sum(abs(float(np.median(corner)) - empty) <= threshold for corner in corners)
    regions, n_regions = ndimage.label(difference > threshold)
    if n_regions == 0 or agreeing < _AGREEING_CORNERS:
        return np.ones(image.shape, dtype=np.bool_)
    largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    body: NDArray[np.bool_] = ndimage.binary_fill_holes(regions == largest)
    return body


def _corners(image: NDArray[np.float32]) -> list[NDArray[Any]]:
    side = max(1, round(_CORNER_SHARE * min(image.shape)))
    parts = (slice(None, side), slice(-side, None))
    return [image[rows, columns] for rows in parts for columns in parts]
