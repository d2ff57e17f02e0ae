"""Report contents -> one HTML text that needs no other file, opens offline and asks for nothing.

The content security policy forbids everything but images inside the page and this page's own
style and script, which it names by their hashes: a name that slips through the escaping could
still neither run nor load anything.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dexsearch import DISCLAIMER
from dexsearch.figures.parameter_plots import importance_plot, slice_legend, slice_plot
from dexsearch.figures.study_plots import State, budget_plot, learning_curves_plot
from dexsearch.figures.theme import Plot
from dexsearch.report.contents import ReportContents, Tile
from dexsearch.wording import printable

STATES: tuple[State, ...] = ("complete", "pruned", "failed", "running")


def render(contents: ReportContents) -> str:
    """Return the page.

    The same contents give the same text.
    """
    style, script = _packaged("report.css"), _packaged("sort.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_shown, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(score=_score, tile=_tile, picture=_picture, breakable=_breakable)
    template = environment.from_string(_packaged("report.html"))
    return template.render(
        report=contents,
        plots=_plots(contents),
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        disclaimer=DISCLAIMER,
        parameters=tuple(dict.fromkeys(k for trial in contents.trials for k, _ in trial.params)),
    )


@dataclass(frozen=True, slots=True)
class _Plots:
    """The plots of a page; None where there is nothing to draw, which the template then says."""

    curves: Plot | None
    budget: Plot | None
    importances: tuple[Plot | None, ...]
    slice_legend: Plot | None
    slices: tuple[Plot, ...]


def _plots(contents: ReportContents) -> _Plots:
    name, curves, budget = contents.score_name, contents.curves, contents.budget
    points = [point for one in contents.slices for point in one.points]
    last = max((point.epoch for point in points), default=1)
    states = [state for state in STATES if any(point.state == state for point in points)]
    return _Plots(
        curves=learning_curves_plot(curves, best=contents.best, ylabel=name)
        if any(curve.epochs for curve in curves)
        else None,
        budget=budget_plot(budget, total_epochs=contents.epochs_spent, ylabel=name)
        if budget
        else None,
        importances=tuple(
            importance_plot(chart.bars) if chart.bars else None for chart in contents.importances
        ),
        slice_legend=slice_legend(states, max_epoch=last) if points else None,
        slices=tuple(
            slice_plot(one.name, one.points, log=one.log, max_epoch=last, ylabel=name)
            for one in contents.slices
        ),
    )


def _picture(plot: Plot, alt: str) -> Markup:
    """Return a plot as an image that follows the reader's light or dark setting."""
    light, dark = (_data_uri(text.encode(), "image/svg+xml") for text in (plot.light, plot.dark))
    return Markup(
        '<picture><source media="screen and (prefers-color-scheme: dark)" srcset="{dark}">'
        '<img src="{light}" alt="{alt}"></picture>'
    ).format(dark=dark, light=light, alt=printable(alt))


def _tile(tile: Tile) -> Markup:
    return Markup('<img src="{uri}" alt="{alt}">').format(
        uri=_data_uri(tile.png, "image/png"), alt=printable(tile.alt)
    )


def _breakable(name: str) -> Markup:
    """Return a dotted name that may be broken after a dot or an underscore."""
    parts = re.split(r"(?<=[._])", printable(name))
    return Markup("<wbr>").join(parts)


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _score(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.4f}"


def _shown(value: object) -> object:
    """Escape control characters in every text; line breaks stay."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "\n".join(printable(line) for line in value.split("\n"))


def _policy(style: str, script: str) -> str:
    allowed = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{kind} {source}" for kind, source in allowed.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _packaged(name: str) -> str:
    return (files("dexsearch.report") / name).read_text(encoding="utf-8")
