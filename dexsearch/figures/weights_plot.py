"""Dual-energy weights: the contrast that each leaves behind, and what that looks like."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dexsearch.figures.canvas import display_window, new_figure, save_figure, show_image

_COLOURS = ("tab:blue", "tab:orange")


@dataclass(frozen=True, slots=True)
class WeightCurve:
    """What one of the two images keeps of the material that it should lose.

    Attributes:
        name: the material and the image, for example "bone in the soft image".
        contrast_per_cm: log units per cm, one for each weight of the plot.
        found: weight at which this contrast is zero.
        computed: weight that follows from the spectra.
        image_name: written beside the images, for example "soft image".
        images: one view at some weights.
        image_weights: those weights.
    """

    name: str
    contrast_per_cm: Sequence[float]
    found: float
    computed: float
    image_name: str
    images: Sequence[NDArray[Any]]
    image_weights: Sequence[float]


def write_weights_plot(
    path: Path,
    weights: Sequence[float],
    curves: Sequence[WeightCurve],
    *,
    mask: NDArray[np.bool_],
    heading: str,
) -> Path:
    """Write the curves above the images as a PNG.

    Args:
        path: where the PNG goes.
        weights: abscissa of the curves.
        curves: one per image, all with the same number of images.
        mask: the body; grey scales are measured inside, and of the image in the middle.
        heading: title of the picture.

    Raises:
        ValueError: without curves, or if one has another number of contrasts than weights.
    """
    if not curves:
        raise ValueError("got no curves to draw")
    for curve in curves:
        if len(curve.contrast_per_cm) != len(weights):
            raise ValueError(
                f"curve {curve.name!r} has {len(curve.contrast_per_cm)} contrasts for "
                f"{len(weights)} weights"
            )
    n_columns = len(curves[0].images)
    figure = new_figure(7.6, 3.4 + 2.5 * len(curves))
    figure.suptitle(heading, fontsize=10)
    grid = figure.add_gridspec(
        1 + len(curves), n_columns, height_ratios=[1.25] + [1] * len(curves)
    )
    _draw_curves(figure.add_subplot(grid[0, :]), weights, curves)
    for row, curve in enumerate(curves, start=1):
        cells = [figure.add_subplot(grid[row, column]) for column in range(n_columns)]
        _draw_images(cells, curve, mask)
    return save_figure(figure, path)


def _draw_curves(axes: Axes, weights: Sequence[float], curves: Sequence[WeightCurve]) -> None:
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    for curve, colour in zip(curves, _COLOURS, strict=False):
        axes.plot(weights, curve.contrast_per_cm, color=colour, label=curve.name)
        axes.plot(curve.found, 0.0, "o", color=colour, label=f"zero at {curve.found:.3f}, found")
        axes.axvline(
            curve.computed,
            color=colour,
            linestyle=":",
            label=f"{curve.computed:.3f} from the spectra",
        )
    axes.set_xlabel("weight of the low-energy image")
    axes.set_ylabel("contrast, log units per cm")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, edgecolor="none", loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def _draw_images(cells: Sequence[Axes], curve: WeightCurve, mask: NDArray[np.bool_]) -> None:
    """Show each image on a grey scale of the width that the middle one needs."""
    low, high = display_window([curve.images[len(curve.images) // 2]], [mask])
    for axes, image, weight in zip(cells, curve.images, curve.image_weights, strict=True):
        # Another weight shifts the whole image, so each scale is centred on its own median.
        centre, width = float(np.median(image[mask])), high - low
        show_image(axes, np.where(mask, image, np.nan), (centre - width / 2, centre + width / 2))
        axes.set_title(f"weight {weight:.3f}", fontsize=9)
    cells[0].set_ylabel(curve.image_name, fontsize=9)
