"""What a search did: the learning curves of its trials, and the best score against its price."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dexsearch.figures.theme import Plot, Theme, add_legend, draw_plot, style_axes

_SIZE_INCH = (5.0, 3.9)
_LOWEST_PERCENT = 10
State = Literal["running", "complete", "pruned", "failed"]


@dataclass(frozen=True, slots=True)
class TrialCurve:
    """The scores of one trial.

    Attributes:
        number: of the trial.
        state: how it ended.
        epochs: at which it was scored, from 1, rising.
        scores: one for each epoch.
        would_prune_at: for an immune trial, the epoch at which the pruner wanted to stop it.
    """

    number: int
    state: State
    epochs: tuple[int, ...]
    scores: tuple[float, ...]
    would_prune_at: int | None = None


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """A moment at which a trial was complete."""

    epochs_spent: int
    """By all trials until then, unfinished ones included."""
    score: float


def learning_curves_plot(curves: Sequence[TrialCurve], *, best: int | None, ylabel: str) -> Plot:
    """Draw the curves of all trials; the best stands out, and marks say where trials stopped."""

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        for curve in sorted(curves, key=lambda curve: curve.number == best):
            _draw_curve(axes, curve, theme, is_best=curve.number == best)
        _mark_ends(axes, curves, theme)
        _set_lower_limit(axes, curves)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        style_axes(axes, theme, xlabel="epoch", ylabel=ylabel)
        add_legend(figure, axes, theme, columns=2)

    return draw_plot(_SIZE_INCH, draw)


def budget_plot(points: Sequence[BudgetPoint], *, total_epochs: int, ylabel: str) -> Plot:
    """Draw each complete trial's score against the epochs spent until then, and the best so far.

    Args:
        points: in the order of time.
        total_epochs: spent by the whole search; where the line of the best ends.
        ylabel: what the scores are.
    """

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        spent = [point.epochs_spent for point in points]
        best = [max(p.score for p in points[: place + 1]) for place in range(len(points))]
        axes.step(
            [*spent, total_epochs], [*best, best[-1]], where="post", color=theme.best,
            linewidth=2, label="best complete trial so far",
        )  # fmt: skip
        axes.plot(
            spent, [point.score for point in points], "o", color=theme.complete, markersize=4,
            label="a complete trial's final score",
        )  # fmt: skip
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        style_axes(axes, theme, xlabel="epochs spent by all trials together", ylabel=ylabel)
        add_legend(figure, axes, theme, columns=2)

    return draw_plot((5.0, 3.1), draw)


def _draw_curve(axes: Axes, curve: TrialCurve, theme: Theme, *, is_best: bool) -> None:
    colour = theme.best if is_best else getattr(theme, curve.state, theme.immune)
    label = f"trial {curve.number}, the best" if is_best else _label_once(axes, curve.state)
    axes.plot(
        curve.epochs, curve.scores, color=colour, label=label,
        linewidth=2.4 if is_best else 1.0, alpha=1.0 if is_best else 0.75,
        marker="." if len(curve.epochs) == 1 else None, zorder=3 if is_best else 2,
    )  # fmt: skip


def _mark_ends(axes: Axes, curves: Sequence[TrialCurve], theme: Theme) -> None:
    """Mark where trials were stopped or failed, and where immune ones would have been stopped."""
    for state, marker, colour in (("pruned", "x", theme.pruned), ("failed", "X", theme.failed)):
        ends = [(c.epochs[-1], c.scores[-1]) for c in curves if c.state == state and c.epochs]
        if ends:
            label = "stopped here" if state == "pruned" else "failed after this epoch"
            axes.plot(
                *zip(*ends, strict=True), marker, color=colour, markersize=6,
                markeredgewidth=1.6, label=label, zorder=4,
            )  # fmt: skip
    spared = [
        (curve.would_prune_at, dict(zip(curve.epochs, curve.scores, strict=True)))
        for curve in curves
        if curve.would_prune_at in curve.epochs
    ]
    if spared:
        axes.plot(
            [epoch for epoch, _ in spared], [scores[epoch or 0] for epoch, scores in spared],
            "D", markerfacecolor="none", color=theme.immune, markersize=7, markeredgewidth=1.6,
            label="immune: would have been stopped", zorder=5, linestyle="none",
        )  # fmt: skip


def _set_lower_limit(axes: Axes, curves: Sequence[TrialCurve]) -> None:
    """Cut off the lowest tenth of the scores, which early epochs fill with nothing to see."""
    scores = sorted(score for curve in curves for score in curve.scores)
    if len(scores) >= 2 * _LOWEST_PERCENT:
        low, high = scores[len(scores) * _LOWEST_PERCENT // 100], scores[-1]
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def _label_once(axes: Axes, state: str) -> str | None:
    return None if state in axes.get_legend_handles_labels()[1] else state
