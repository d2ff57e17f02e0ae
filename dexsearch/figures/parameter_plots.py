"""What the parameters of a search did: how much each mattered, and the scores against each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dexsearch.figures.study_plots import State
from dexsearch.figures.theme import Plot, Theme, add_legend, draw_plot, plain, style_axes

_MARKERS: Mapping[State, str] = {"complete": "o", "pruned": "x", "failed": "X", "running": "+"}
_SPREAD = 0.16
"""Half the width over which trials of one choice are spread, in units of the axis."""

_MANY_FOLD = 30
"""Above this ratio of its ends a logarithmic axis names powers of ten alone."""

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Bar:
    """How much a parameter mattered, and what chance alone reaches; both as shares of 1."""

    name: str
    share: float
    chance: float


@dataclass(frozen=True, slots=True)
class SlicePoint:
    """One trial in the slice along one parameter.

    Attributes:
        value: of the parameter.
        score: the newest of the trial.
        epoch: at which it was scored.
        state: of the trial.
        is_best: whether it is the best complete trial.
    """

    value: Value
    score: float
    epoch: int
    state: State
    is_best: bool = False


def importance_plot(bars: Sequence[Bar]) -> Plot:
    """Draw a bar for each parameter, with a tick where chance ends."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        places = np.arange(len(bars))[::-1]
        colours = [theme.complete if bar.share > bar.chance else theme.pruned for bar in bars]
        axes.barh(places, [100 * bar.share for bar in bars], height=0.6, color=colours)
        axes.plot(
            [100 * bar.chance for bar in bars], places, "|", color=theme.best, markersize=17,
            markeredgewidth=2, label="reached by chance once in twenty", linestyle="none",
        )  # fmt: skip
        style_axes(axes, theme, xlabel="share of the importance, %", ylabel="")
        axes.set_yticks(places, [plain(bar.name) for bar in bars])
        axes.grid(visible=False, axis="y")
        axes.set_xlim(left=0)
        add_legend(figure, axes, theme, columns=1)

    return draw_plot((5.0, 1.15 + 0.32 * len(bars)), draw)


def slice_plot(
    name: str, points: Sequence[SlicePoint], *, log: bool, max_epoch: int, ylabel: str
) -> Plot:
    """Draw the newest score of each trial against one parameter.

    Args:
        name: of the parameter.
        points: the trials that have it.
        log: whether the parameter was drawn on a logarithmic scale.
        max_epoch: where the colours of the epochs end.
        ylabel: what the scores are.
    """
    is_number = not any(isinstance(p.value, bool | str) for p in points)
    categories = None if is_number and _n_values(points) > 4 else _categories(points)

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        for place, point in enumerate(points):
            x = _abscissa(point, categories, place)
            _draw_point(axes, x, point, theme, max_epoch)
        style_axes(axes, theme, xlabel=name, ylabel=ylabel)
        if categories is not None:
            axes.set_xticks(range(len(categories)), [plain(str(c))[:14] for c in categories])
            axes.set_xlim(-0.5, len(categories) - 0.5)
        elif log:
            _use_log_scale(axes)

    return draw_plot((3.3, 2.6), draw)


def slice_legend(states: Sequence[State], *, max_epoch: int) -> Plot:
    """Draw what the colours and markers of all slices mean."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        mappable = mpl.cm.ScalarMappable(Normalize(1, max(max_epoch, 2)), theme.scale)
        bar = figure.colorbar(mappable, cax=axes, orientation="horizontal")
        bar.set_label("epochs trained", color=theme.ink)
        bar.outline.set_visible(False)
        axes.tick_params(colors=theme.ink)
        for state in states:
            axes.plot([], [], _MARKERS[state], color=theme.ink, label=state, linestyle="none")
        axes.plot(
            [], [], "o", markerfacecolor="none", markeredgecolor=theme.best, markersize=9,
            markeredgewidth=1.6, label="the best", linestyle="none",
        )  # fmt: skip
        add_legend(figure, axes, theme, columns=len(states) + 1)

    return draw_plot((4.6, 1.0), draw)


def _use_log_scale(axes: Axes) -> None:
    """Label a logarithmic axis with plain numbers, few enough to stand side by side."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    subs = (1.0,) if high / low > _MANY_FOLD else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _draw_point(axes: Axes, x: float, point: SlicePoint, theme: Theme, max_epoch: int) -> None:
    colour = mpl.colormaps[theme.scale]((point.epoch - 1) / max(max_epoch - 1, 1))
    axes.plot(x, point.score, _MARKERS[point.state], color=colour, markersize=5)
    if point.is_best:
        axes.plot(
            x, point.score, "o", markerfacecolor="none", markeredgecolor=theme.best,
            markersize=10, markeredgewidth=1.8,
        )  # fmt: skip


def _abscissa(point: SlicePoint, categories: list[Value] | None, place: int) -> float:
    """Return where a trial stands; those of one choice are spread by their order."""
    if categories is None:
        return float(point.value)
    at = next(i for i, value in enumerate(categories) if _same(value, point.value))
    return at + _SPREAD * (((place * 0.618) % 1) * 2 - 1)


def _n_values(points: Sequence[SlicePoint]) -> int:
    return len({point.value for point in points})


def _categories(points: Sequence[SlicePoint]) -> list[Value]:
    """Return the distinct values, numbers in order before words."""
    found: list[Value] = []
    for point in points:
        if not any(_same(value, point.value) for value in found):
            found.append(point.value)
    return sorted(
        found, key=lambda v: (isinstance(v, str), v if not isinstance(v, str) else 0, str(v))
    )


def _same(one: Value, other: Value) -> bool:
    """Tell `True` from 1."""
    return type(one) is type(other) and one == other
