"""Single images as PNG bytes for a page that lays them out itself: no axes, no margins."""

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from dexsearch import DISCLAIMER

LARGEST_PX = 256
"""Larger images are averaged over blocks until neither side is larger."""


def grey_tile(image: NDArray[Any], window: tuple[float, float]) -> bytes:
    """Return an image in grey; `window` are the values of black and of white."""
    low, high = window
    return _png(np.clip((_reduced(image) - low) / (high - low), 0, 1) * 255)


def difference_tile(difference: NDArray[Any], mask: NDArray[np.bool_], *, reach: float) -> bytes:
    """Return a signed image inside `mask`: blue at -reach, white at 0, red at +reach."""
    shown = _reduced(np.where(mask, difference, 0.0))
    scaled = np.clip(shown / reach, -1, 1) / 2 + 0.5
    return _png(mpl.colormaps["RdBu_r"](scaled, bytes=True)[..., :3])


def _reduced(image: NDArray[Any]) -> NDArray[np.float64]:
    """Average over blocks, so that a report of many large images stays a small file."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    block = min(-(-max(values.shape) // LARGEST_PX), *values.shape)
    rows, columns = (size // block * block for size in values.shape)
    blocks = values[:rows, :columns].reshape(rows // block, block, columns // block, block)
    reduced: NDArray[np.float64] = blocks.mean(axis=(1, 3))
    return reduced


def _png(levels: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", DISCLAIMER)
    Image.fromarray(levels.astype(np.uint8)).save(stream, "PNG", pnginfo=info, optimize=True)
    return stream.getvalue()
