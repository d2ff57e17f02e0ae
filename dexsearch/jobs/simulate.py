"""What other samplers and pruners would have done with the curves of a study or a table."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dexsearch.errors import ConfigurationError, DataError
from dexsearch.jobs.out_file import refuse_unwritable
from dexsearch.jobs.replay_pairs import chosen_pairs
from dexsearch.jobs.simulation import Simulation
from dexsearch.ledger.studies import list_studies
from dexsearch.ledger.study import read_study

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dexsearch.search.curves import CurveTable
    from dexsearch.search.replay import Conditions, Replay

FEWEST_CURVES = 8


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

    if request.out is not None:
        refuse_unwritable(request.out, "plot", example="replay.png", suffix=".png")
    table = load_curves(source, workspace)
    objective = _objective(table, request.objective, source)
    pairs = chosen_pairs(table, request.samplers, request.pruners)
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


def _objective(table: "CurveTable", asked: str | None, source: str) -> str:
    """Return what is maximised: what is asked for, otherwise what the study maximised."""
    recorded = f"{source} has {', '.join(table.objectives) or 'none that every curve has'}"
    if asked is not None and asked not in table.objectives:
        raise ConfigurationError(f"--objective {asked!r} is not recorded; {recorded}")
    objective = asked or str(table.space.get("objective", "val_ssim"))
    if objective not in table.objectives:
        raise DataError(
            f"the study's objective {objective!r} is not recorded; {recorded}",
            hint="name a recorded one with --objective",
        )
    return objective


def load_curves(source: str, workspace: Path) -> "CurveTable":
    """Read a table's file, or take the complete curves of a study.

    Raises:
        ConfigurationError: if there is neither.
        DataError: if a table is damaged, or under eight curves are complete.
    """
    from dexsearch.search.curves import read_table, refuse_invalid_space, table_of

    studies = list_studies(workspace)
    if Path(source).is_file():
        table = read_table(Path(source))
    elif source in studies:
        table = table_of(read_study(workspace / "studies" / source))
        refuse_invalid_space(table.space, f"study {source}")
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
        heading=f"{Path(source).name}: {len(conditions.table.rows)} recorded curves, "
        f"{conditions.workers} workers;\nmedian and 10 to 90 % of the seeds",
        ylabel=f"best {conditions.objective} of a complete trial",
    )
    return str(path)
