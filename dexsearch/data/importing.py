"""Import foreign image pairs of one volume into a dataset folder.

Images of different sizes keep their pixel scale: all are padded with their own background to
one common square, then shrunk with anti-aliasing to the size asked for. Pixel values keep the
unit that they have in the files.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from dexsearch.data.foreign import Folders, ForeignPair, content_sha256, find_pairs
from dexsearch.data.splits import split_poses
from dexsearch.data.store import Dataset, Sample, write_dataset
from dexsearch.errors import DataError
from dexsearch.images.reading import read_image

MIN_SIZE_PX, MAX_SIZE_PX = 16, 2048

_CORNER_SHARE = 1 / 32
_BODY_SHARE = 0.05  # of the brightest difference from the background
_BODY_NOISE_STDS = 4.0

Progress = Callable[[int, int], None]


def import_pairs(
    path: Path,
    folders: Folders,
    *,
    size_px: int = 256,
    subject: str = "imported",
    progress: Progress | None = None,
) -> Dataset:
    """Import all pairs as one volume, split into blocks of poses with guard bands.

    Args:
        path: dataset folder to make.
        folders: where the three kinds of images lie.
        size_px: side of the square images of the dataset.
        subject: name of the anatomy that all images show.
        progress: called with the number of images done and their total.

    Raises:
        DataError: naming the file that cannot be used and what to do; nothing is written then.
    """
    if not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise DataError(
            f"got a size of {size_px} px; images have {MIN_SIZE_PX} to {MAX_SIZE_PX} px a side"
        )
    pairs = find_pairs(folders)
    common_px = max(max(pair.size_px) for pair in pairs)
    source = {
        "layout": "three folders",
        "n_images": len(pairs),
        "content_sha256": content_sha256(pairs),
        "common_px": common_px,
        "size_px": size_px,
        "subject": subject,
    }

    def samples() -> Iterator[Sample]:
        for count, pair in enumerate(pairs, start=1):
            yield load_sample(pair, subject, common_px=common_px, size_px=size_px)
            if progress is not None:
                progress(count, len(pairs))

    return write_dataset(
        path,
        samples(),
        split_poses([pair.pose_deg for pair in pairs]),
        kind="import",
        pixel_mm=None,
        units=dict.fromkeys(("input", "bone", "tissue"), "as imported"),
        source=source,
    )


def load_sample(pair: ForeignPair, subject: str, *, common_px: int, size_px: int) -> Sample:
    """Read, pad and shrink the images of one pose, and find the body in them."""
    images = {kind: read_image(getattr(pair, kind)) for kind in ("input", "bone", "tissue")}
    if images["input"].std() == 0:
        raise DataError(
            f"{pair.input}: every pixel is {images['input'].flat[0]:g}; there is nothing in view",
            hint="remove the three images of this pose, or make them again",
        )
    body = pad_square(body_mask(images["input"]).astype(np.float32), common_px, value=0.0)
    squares = {
        kind: shrink(pad_square(image, common_px, value=background(image)), size_px)
        for kind, image in images.items()
    }
    mask = shrink(body, size_px) > 0.5
    return Sample(subject=subject, pose_deg=pair.pose_deg, mask=mask, **squares)


def background(image: NDArray[np.float32]) -> float:
    """Return the value of an image where there is no body: the median of its four corners."""
    return float(np.median(_corners(image)))


def body_mask(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where a raw input image shows something else than its background.

    The largest connected region that differs from the corners by 5 % of the image's contrast,
    and by more than the corners' own noise, with its holes filled.
    """
    corners = _corners(image)
    difference = np.abs(image - background(image))
    noise = 1.4826 * float(np.median(np.abs(corners - np.median(corners))))
    threshold = max(_BODY_SHARE * float(np.percentile(difference, 99.5)), _BODY_NOISE_STDS * noise)
    regions, n_regions = ndimage.label(difference > threshold)
    if n_regions == 0:
        return np.ones(image.shape, dtype=np.bool_)
    largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    body: NDArray[np.bool_] = ndimage.binary_fill_holes(regions == largest)
    return body


def pad_square(image: NDArray[np.float32], side_px: int, *, value: float) -> NDArray[np.float32]:
    """Put the image into the middle of a square of one value."""
    square = np.full((side_px, side_px), value, dtype=np.float32)
    rows, columns = image.shape
    top, left = (side_px - rows) // 2, (side_px - columns) // 2
    square[top : top + rows, left : left + columns] = image
    return square


def shrink(image: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """Resample a square image, averaging over what falls into one new pixel."""
    if image.shape == (side_px, side_px):
        return image
    tensor = torch.from_numpy(image)[None, None]
    resampled = functional.interpolate(
        tensor, size=(side_px, side_px), mode="bilinear", antialias=True, align_corners=False
    )
    result: NDArray[np.float32] = resampled[0, 0].numpy()
    return result


def _corners(image: NDArray[np.float32]) -> NDArray[Any]:
    side = max(1, round(_CORNER_SHARE * min(image.shape)))
    parts = (slice(None, side), slice(-side, None))
    return np.concatenate([image[rows, columns].ravel() for rows in parts for columns in parts])
