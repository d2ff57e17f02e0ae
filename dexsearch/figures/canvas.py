"""What every picture shares: the figure, its grey scales and the line at its foot."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from dexsearch import DISCLAIMER
from dexsearch.errors import ConfigurationError, EnvironmentFault

_LONGEST_NAME = 21
_LOW_PERCENT, _HIGH_PERCENT = 0.5, 99.5


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """Return a white figure that is drawn without a display and without global state."""
    figure = Figure(figsize=(width_inch, height_inch), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path, *, dpi: int = 120) -> Path:
    """Write the figure as a PNG with the disclaimer at its foot; whole or not at all.

    Raises:
        ConfigurationError: if the path is a folder, or named as another kind of file.
        EnvironmentFault: if the disk refuses.
    """
    if path.is_dir() or path.suffix.lower() != ".png":
        kind = "a folder" if path.is_dir() else "no PNG"
        raise ConfigurationError(
            f"{str(path)!r} is {kind}; pictures are PNG files",
            hint="name a file such as sheet.png",
        )
    figure.supxlabel(DISCLAIMER, fontsize=8, color="0.35", x=0.99, ha="right")
    unfinished = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(
            unfinished, format="png", dpi=dpi, metadata={"Comment": DISCLAIMER, "Software": None}
        )
        unfinished.replace(path)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot write the picture {str(path)!r}: {error.strerror or error}",
            hint="check the folder's permissions and the free space",
        ) from None
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return path


def display_window(
    images: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]] | None = None
) -> tuple[float, float]:
    """Return the grey levels of black and white that suit all `images` together.

    The 0.5th and 99.5th percentile of the pixels, or of those inside `masks`; never equal.
    """
    if masks is None or not any(mask.any() for mask in masks):
        masks = [np.ones(image.shape, dtype=bool) for image in images]
    values = np.concatenate([i[mask] for i, mask in zip(images, masks, strict=True)])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(level) for level in np.percentile(values, (_LOW_PERCENT, _HIGH_PERCENT)))
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def shortened(name: str) -> str:
    """Return a name that fits beside an image: without its middle where it is too long."""
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def show_image(
    axes: Axes, image: NDArray[Any], window: tuple[float, float], *, cmap: str = "gray"
) -> AxesImage:
    """Draw one image without ticks, every pixel the same square."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    low, high = window
    return axes.imshow(image, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")


def add_scale(figure: Figure, drawn: AxesImage, beside: Sequence[Axes], label: str) -> None:
    """Add a scale to the right of `beside`."""
    bar = figure.colorbar(drawn, ax=list(beside), fraction=0.05, pad=0.01, aspect=18)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(label, fontsize=8)
    bar.outline.set_visible(False)


def show_errors(
    cells: Sequence[Axes], errors: Sequence[NDArray[Any]], mask: NDArray[np.bool_]
) -> AxesImage:
    """Draw errors within a mask on one scale: red above 0, blue below; return the last image."""
    masked = [np.where(mask, error, 0.0) for error in errors]
    low, high = display_window(masked, [mask] * len(masked))
    reach = max(-low, high)
    for axes, error in zip(cells, masked, strict=True):
        drawn = show_image(axes, error, (-reach, reach), cmap="RdBu_r")
    return drawn
