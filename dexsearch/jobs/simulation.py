"""What a simulation found: pairs of sampler and pruner on the same curves, as text and JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dexsearch.search.replays import Summary

_HEADER = (
    "sampler / pruner", "epochs to best", "95 % interval", "never", "epochs in all",
    "regret", "best tenth stopped",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Simulation:
    """Pairs of sampler and pruner on the same curves; infinity stands for never."""

    source: str
    objective: str
    n_curves: int
    n_pruned: int
    """Configurations of the study that have no whole curve because they were pruned."""

    epochs: int
    workers: int
    seeds: int
    within: float
    best: float
    pairs: "tuple[Summary, ...]"
    plot: str | None

    @property
    def warning(self) -> str | None:
        """What speaks against these numbers, if anything."""
        if not self.n_pruned:
            return None
        return (
            f"survivor bias: {self.n_pruned} pruned trials have no whole curve and are left out; "
            "those that remain were good early on, so every pruner looks better here than it is. "
            "Immune trials help; a study with 'pruner: {kind: none}' has no such bias"
        )

    def as_json(self) -> dict[str, Any]:
        """Return JSON values; null for never."""
        return {**_without_infinity(asdict(self)), "warning": self.warning}

    def __str__(self) -> str:
        """Return the table for people."""
        head = (
            f"{self.source}: {self.n_curves} recorded curves of {self.epochs} epochs, "
            f"{self.workers} workers, {self.seeds} seeds\n"
            f"epochs to best: till a complete trial is within {self.within:g} of the best "
            f"{self.objective}, {self.best:.4f} (median)"
        )
        lines = [head, *_columns([_HEADER, *(_cells(pair) for pair in self.pairs)])]
        lines.append(
            "regret: what the best complete trial lacks in the end; best tenth stopped: share "
            "of the best tenth of all configurations that the pruner wanted to stop"
        )
        lines += [f"warning: {self.warning}"] if self.warning else []
        lines += [f"plot: {self.plot}"] if self.plot else []
        return "\n".join(lines)


def _cells(pair: "Summary") -> tuple[str, ...]:
    interval = pair.epochs_interval
    return (
        pair.name,
        _number(pair.epochs_to_best),
        f"{_number(interval.low)} to {_number(interval.high)}",
        f"{pair.never_rate:.0%}",
        _number(pair.epochs_all),
        f"{pair.regret:.4f}",
        f"{pair.best_tenth_stopped:.0%}",
    )


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _number(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.0f}"


def _without_infinity(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _without_infinity(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinity(item) for item in value]
    return None if isinstance(value, float) and math.isinf(value) else value
