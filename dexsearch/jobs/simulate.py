"""What other samplers and pruners would have done with the curves of a study or a table."""

import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from dexsearch.config.base import first_problem
from dexsearch.config.space import PrunerConfig, SamplerConfig
from dexsearch.errors import ConfigurationError, DataError
from dexsearch.ledger.study import list_studies, read_study

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dexsearch.search.curves import CurveTable
    from dexsearch.search.replay import Conditions, Replay
    from dexsearch.search.replays import Pair, Summary

FEWEST_CURVES = 8
_USUAL = (("tpe", "none"), ("tpe", "successive_halving"), ("tpe", "hyperband"), ("tpe", "median"))
_HEADER = (
    "sampler / pruner", "epochs to best", "95 % interval", "never", "epochs in all",
    "regret", "best stopped",
)  # fmt: skip


class ProgressBar(Protocol):
    """Shows a bar while replays run; given the unit, yields what counts."""

    def __call__(self, unit: str, /) -> "AbstractContextManager[Callable[[int, int], None]]":
        """Open the bar."""
        ...


@dataclass(frozen=True, slots=True)
class SimulationRequest:
    """What to replay; empty `samplers` and `pruners` mean the study's own and the usual ones."""

    samplers: tuple[str, ...] = ()
    pruners: tuple[str, ...] = ()
    """`NAME` or `NAME:min_epochs=3,reduction=3`."""

    objective: str | None = None
    """None: that of the study."""

    workers: int = 8
    seeds: int = 32
    within: float = 0.002
    jobs: int | None = None
    """Processes; None: as many as there are processors."""

    out: Path | None = None


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
            "regret: what the best complete trial lacks in the end; best stopped: share of the "
            "best tenth that the pruner wanted to stop"
        )
        lines += [f"warning: {self.warning}"] if self.warning else []
        lines += [f"plot: {self.plot}"] if self.plot else []
        return "\n".join(lines)


def simulate(
    source: str, request: SimulationRequest, *, workspace: Path, progress: ProgressBar
) -> Simulation:
    """Replay pairs of sampler and pruner over recorded curves.

    Args:
        source: a table's file, or the name of a study in the workspace.
        request: what to replay.
        workspace: where studies are.
        progress: shows a bar.

    Raises:
        ConfigurationError: if there is no such study or file, or a name is not known.
        DataError: if the table is damaged or has too few curves.
    """
    from dexsearch.search.replay import Conditions
    from dexsearch.search.replays import run_replays, summarise_replays

    table = load_curves(source, workspace)
    objective = request.objective or str(table.space["objective"])
    if objective not in table.objectives:
        raise ConfigurationError(
            f"--objective {objective!r} is not recorded; {source} has "
            f"{', '.join(table.objectives)}"
        )
    pairs = chosen_pairs(table, request)
    conditions = Conditions(table, objective, workers=request.workers)
    jobs = request.jobs or os.cpu_count() or 1
    with progress("replays") as count:
        found = run_replays(pairs, conditions, seeds=request.seeds, jobs=jobs, progress=count)
    by_name = {pair.name: replays for pair, replays in zip(pairs, found, strict=True)}
    return Simulation(
        source=source,
        objective=objective,
        n_curves=len(table.rows),
        n_pruned=int(table.counts.get("pruned", 0)),
        epochs=table.epochs,
        workers=request.workers,
        seeds=request.seeds,
        within=request.within,
        best=table.best(objective),
        pairs=tuple(
            summarise_replays(name, replays, conditions, within=request.within)
            for name, replays in by_name.items()
        ),
        plot=_plot(request.out, by_name, conditions, source),
    )


def load_curves(source: str, workspace: Path) -> "CurveTable":
    """Read a table's file, or take the complete curves of a study.

    Raises:
        ConfigurationError: if there is neither.
        DataError: if a table is damaged, or under eight curves are complete.
    """
    from dexsearch.search.curves import read_table, table_of

    studies = list_studies(workspace)
    if Path(source).is_file():
        table = read_table(Path(source))
    elif source in studies:
        table = table_of(read_study(workspace / "studies" / source))
    else:
        raise ConfigurationError(
            f"{source!r} is neither a file nor a study in {workspace}; there is "
            f"{', '.join(studies) or 'none yet'}",
            hint="dexsearch tune --space quickstart.yaml starts a study",
        )
    if len(table.rows) < FEWEST_CURVES:
        raise DataError(
            f"{source} has {len(table.rows)} complete curves; a replay needs at least "
            f"{FEWEST_CURVES}, and means something from a few dozen on",
            hint="raise --trials, or record a study with 'pruner: {kind: none}'",
        )
    return table


def chosen_pairs(table: "CurveTable", request: SimulationRequest) -> "tuple[Pair, ...]":
    """Return the pairs to replay: random search without pruning first, each pair once."""
    from dexsearch.search.replays import Pair

    own = PrunerConfig.model_validate(table.space["pruner"])
    own_sampler = SamplerConfig.model_validate(table.space["sampler"])
    pairs = [Pair(_sampler("random"), PrunerConfig(kind="none"))]
    if request.samplers or request.pruners:
        samplers = [_sampler(name) for name in request.samplers] or [own_sampler]
        pruners = [_pruner(text, own, table.epochs) for text in request.pruners] or [own]
        pairs += [Pair(sampler, pruner) for sampler in samplers for pruner in pruners]
    else:
        pairs.append(Pair(own_sampler, own))
        pairs += [Pair(_sampler(s), _pruner(p, own, table.epochs)) for s, p in _USUAL]
    return tuple({pair.name: pair for pair in reversed(pairs)}.values())[::-1]


def _sampler(name: str) -> SamplerConfig:
    try:
        return SamplerConfig.model_validate({"kind": name})
    except ValidationError as error:
        problem = first_problem(error, SamplerConfig).removeprefix("kind: ")
        raise ConfigurationError(f"--sampler {name!r}: {problem}") from None


def _pruner(text: str, own: PrunerConfig, epochs: int) -> PrunerConfig:
    """Read `NAME:key=value,...`; what is not given is as in the study, if that pruned.

    Without a pruner of its own to go by, the first decision is at a ninth of the epochs.
    """
    name, _, settings = text.partition(":")
    values: dict[str, Any] = own.model_dump()
    if own.kind == "none":
        values["min_epochs"] = max(1, round(epochs / 9))
    values["kind"] = name
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigurationError(
                f"--pruner {text!r}: {setting!r} is not KEY=VALUE, "
                "as in successive_halving:min_epochs=3,reduction=3"
            )
        values[key.strip()] = value.strip()
    try:
        pruner = PrunerConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(
            f"--pruner {text!r}: {first_problem(error, PrunerConfig)}"
        ) from None
    if pruner.kind != "none" and pruner.min_epochs >= epochs:
        raise ConfigurationError(
            f"--pruner {text!r}: min_epochs={pruner.min_epochs} never lets a trial be pruned; "
            f"the curves have {epochs} epochs"
        )
    return pruner


def _plot(
    out: Path | None, by_name: "Mapping[str, list[Replay]]", conditions: "Conditions", source: str
) -> str | None:
    if out is None:
        return None
    from dexsearch.figures.replay_plot import write_replay_plot

    searches = {
        name: [(replay.epochs, replay.best) for replay in replays]
        for name, replays in by_name.items()
    }
    path = write_replay_plot(
        out,
        searches,
        best=conditions.table.best(conditions.objective),
        heading=f"{source}: {len(conditions.table.rows)} recorded curves, "
        f"{conditions.workers} workers; median and 10 to 90 % of the seeds",
        ylabel=f"best {conditions.objective} of a complete trial",
    )
    return str(path)


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
