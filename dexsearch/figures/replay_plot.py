"""Best score so far against epochs spent: the median over seeds, and the band of most of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dexsearch.figures.canvas import new_figure, save_figure

Steps = tuple[Sequence[int], Sequence[float]]
"""Epochs spent when the best so far changed or was confirmed, and its values."""

_POINTS = 400


def write_replay_plot(
    path: Path, searches: Mapping[str, Sequence[Steps]], *, best: float, heading: str, ylabel: str
) -> Path:
    """Write the plot as a PNG.

    Args:
        path: where to; ends in .png.
        searches: for each name one search per seed.
        best: the best that can be found, drawn as a level line.
        heading: title of the plot.
        ylabel: what the values are.

    Raises:
        ValueError: without any search.
    """
    if not any(searches.values()):
        raise ValueError("got no search to draw")
    longest = max(
        (epochs[-1] for seeds in searches.values() for epochs, _ in seeds if epochs), default=1
    )
    grid = np.linspace(1, longest, _POINTS)
    figure = new_figure(7.6, 4.6)
    axes = figure.subplots()
    medians = []
    for name, seeds in searches.items():
        low, middle, high = np.quantile(
            [best_so_far(steps, grid) for steps in seeds], (0.1, 0.5, 0.9), axis=0, method="lower"
        )
        medians.append(middle)
        (line,) = axes.plot(grid, _finite(middle), linewidth=1.5, label=name)
        axes.fill_between(grid, _finite(low), _finite(high), alpha=0.12, color=line.get_color())
    axes.axhline(best, linestyle="--", linewidth=1.0, color="0.45", label=f"best, {best:.4f}")
    shown = np.concatenate(medians)
    shown = shown[np.isfinite(shown)]
    if shown.size:
        axes.set_ylim(float(np.quantile(shown, 0.05)) - 0.002, best + 0.002)
    axes.set_xlabel("epochs spent by all workers (recorded, virtual time)")
    axes.set_ylabel(ylabel)
    axes.set_title(heading, fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, framealpha=0.9, edgecolor="none", loc="lower right")
    return save_figure(figure, path)


def best_so_far(steps: Steps, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the value at each number of epochs; -inf before the first complete trial."""
    epochs, values = steps
    places = np.searchsorted(np.asarray(epochs), grid, side="right")
    return np.concatenate([[-np.inf], np.asarray(values, dtype=float)])[places]


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, np.nan)
