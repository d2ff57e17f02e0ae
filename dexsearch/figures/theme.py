"""How the plots of a report look: light and dark, in colours that colour-blind readers tell apart.

The hues are those of Okabe and Ito (2008). A plot is an SVG without fonts, links or dates, so a
page that holds it needs nothing else, and the same numbers give the same bytes.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dexsearch.figures.canvas import new_figure

_STYLE: Any = {
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "svg.hashsalt": "dexsearch",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a name with two dollar signs is a name
}


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of one appearance, as matplotlib takes them."""

    ink: str
    muted: str
    grid: str
    paper: str
    best: str
    complete: str
    pruned: str
    failed: str
    immune: str
    scale: str
    """Name of the colour map of epochs, readable on `paper` at both ends."""


LIGHT = Theme(
    ink="#1b1f24", muted="#5b6470", grid="#d9dee4", paper="#ffffff",
    best="#d55e00", complete="#0072b2", pruned="#8d97a3", failed="#a3195b", immune="#009e73",
    scale="viridis_r",
)  # fmt: skip
DARK = Theme(
    ink="#e6e9ed", muted="#a3adb8", grid="#3a424c", paper="#14181d",
    best="#ff9d4d", complete="#56b4e9", pruned="#7c8794", failed="#e685b5", immune="#3fcf9f",
    scale="viridis",
)  # fmt: skip
THEMES = (LIGHT, DARK)


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot for light and for dark paper, as SVG texts."""

    light: str
    dark: str


def draw_plot(size_inch: tuple[float, float], draw: Callable[[Figure, Theme], None]) -> Plot:
    """Draw the same plot once per theme."""
    return Plot(*(_svg(size_inch, draw, theme) for theme in THEMES))


def style_axes(axes: Axes, theme: Theme, *, xlabel: str, ylabel: str) -> None:
    """Give axes their labels, a faint grid and the theme's colours."""
    axes.set_xlabel(plain(xlabel), color=theme.ink)
    axes.set_ylabel(plain(ylabel), color=theme.ink)
    axes.tick_params(which="both", colors=theme.muted, labelcolor=theme.ink)
    axes.set_facecolor(theme.paper)
    axes.grid(color=theme.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(theme.muted)


def add_legend(figure: Figure, axes: Axes, theme: Theme, *, columns: int = 3) -> None:
    """Put the legend above the axes, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=columns, frameon=False,
        labelcolor=theme.ink, handlelength=1.6, columnspacing=1.2,
    )  # fmt: skip


def plain(text: str) -> str:
    """Return text that every font can draw: what is not ASCII becomes an escape."""
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown.encode("ascii", "backslashreplace").decode("ascii")


def _svg(
    size_inch: tuple[float, float], draw: Callable[[Figure, Theme], None], theme: Theme
) -> str:
    with mpl.rc_context(_STYLE):
        figure = new_figure(*size_inch)
        figure.set_facecolor(theme.paper)
        draw(figure, theme)
        stream = io.StringIO()
        figure.savefig(
            stream, format="svg", facecolor=theme.paper,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )  # fmt: skip
    text = stream.getvalue()
    return text[text.index("<svg") :]
