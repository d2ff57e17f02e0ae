"""Write one image as .npy or TIFF, or as a grey PNG to look at; whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dexsearch import DISCLAIMER
from dexsearch.errors import EnvironmentFault


def write_npy(path: Path, image: NDArray[Any]) -> Path:
    """Write the values as they are, as float32."""
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        np.save(file, image.astype(np.float32), allow_pickle=False)
    return path


def write_png(path: Path, image: NDArray[Any], *, window: tuple[float, float]) -> Path:
    """Write a grey picture with 16 bits; values outside the window become black or white.

    The window and the line "research software, not for diagnosis" are stored as text in the
    file, so that the pixels stay those of the image.

    Raises:
        ValueError: if the window's lower end is not below its upper end.
    """
    counts = _counts(image, window)
    text = PngInfo()
    text.add_text("Comment", DISCLAIMER)
    text.add_text("Window", _window_text(window))
    with whole_file(path) as unfinished:
        Image.fromarray(counts).save(unfinished, format="PNG", pnginfo=text)
    return path


def write_tiff(
    path: Path, image: NDArray[Any], *, window: tuple[float, float] | None = None
) -> Path:
    """Write the values as they are, as float32; with a window, 16 bits as `write_png`.

    Raises:
        ValueError: if the window's lower end is not below its upper end.
    """
    values = np.asarray(image, dtype=np.float32) if window is None else _counts(image, window)
    text = DISCLAIMER if window is None else f"{DISCLAIMER}; {_window_text(window)}"
    with whole_file(path) as unfinished:
        Image.fromarray(values).save(unfinished, format="TIFF", description=text)
    return path


def _counts(image: NDArray[Any], window: tuple[float, float]) -> NDArray[np.uint16]:
    low, high = window
    if not low < high:
        raise ValueError(f"got window {window}; its lower end must be below its upper end")
    levels = np.clip((np.asarray(image, dtype=np.float64) - low) / (high - low), 0.0, 1.0)
    return np.round(levels * 65535).astype(np.uint16)


def _window_text(window: tuple[float, float]) -> str:
    return f"black {window[0]:g}, white {window[1]:g}"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path that becomes `path` on success and disappears on any failure."""
    unfinished = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write {str(path)!r}: {error.strerror or error}",
            hint="check the folder's permissions and the free space",
        ) from error
    finally:
        if unfinished.is_file():
            unfinished.unlink()
