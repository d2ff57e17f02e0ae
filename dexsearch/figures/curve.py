"""A learning curve: a score per epoch, with the baselines that it has to beat."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from dexsearch.figures.canvas import new_figure, save_figure

_BASELINE_STYLES = ("--", "-.", ":")


def write_learning_curve(
    path: Path,
    curves: Mapping[str, Sequence[float]],
    *,
    heading: str,
    ylabel: str = "masked SSIM on validation subjects",
    baselines: Mapping[str, float] | None = None,
) -> Path:
    """Write the curves as a PNG; the first value of each belongs to epoch 1.

    `baselines` are drawn as level lines with their values in the legend.

    Raises:
        ValueError: without any curve.
    """
    if not curves:
        raise ValueError("got no curve to draw")
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    for name, values in curves.items():
        epochs = range(1, len(values) + 1)
        last = f", last {values[-1]:.3f}" if values else ""
        axes.plot(epochs, values, marker=".", markersize=4, linewidth=1.4, label=f"{name}{last}")
    for index, (name, value) in enumerate((baselines or {}).items()):
        style = _BASELINE_STYLES[index % len(_BASELINE_STYLES)]
        label = f"{name}, {value:.3f}"
        axes.axhline(value, linestyle=style, linewidth=1.0, color="0.45", label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel(ylabel)
    axes.set_title(heading, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, framealpha=0.9, edgecolor="none")
    return save_figure(figure, path)
