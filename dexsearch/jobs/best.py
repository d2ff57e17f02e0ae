"""What `dexsearch best` tells: registered generators, ranked within comparable groups.

Reads `registry.jsonl`, and where that is empty the studies' ledgers; no heavy library.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsearch.errors import NotRegistered
from dexsearch.jobs.ranked import Ranked, ranking_table
from dexsearch.ledger.study import read_studies
from dexsearch.registry.record import read_registry
from dexsearch.wording import workspace_flag


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Groups of comparable generators, the newest group first; each is ranked from 1."""

    groups: tuple[tuple[Ranked, ...], ...]

    def as_json(self) -> list[dict[str, Any]]:
        """Return the rows of every group, one after the other."""
        return [row.as_json() for group in self.groups for row in group]

    def __str__(self) -> str:
        """Return a table per group, with what doing nothing scores below the generators."""
        return (
            "\n".join(ranking_table(group) for group in self.groups) or "no registered generators"
        )


def leaderboard(workspace: Path, *, task: str | None = None, top: int = 10) -> Leaderboard:
    """Rank the registered generators of a workspace, at most `top` of each group."""
    registry = read_registry(workspace)
    groups = []
    for group in registry.groups(task):
        rows = [
            Ranked(
                rank,
                version,
                registry.aliases_of(version),
                registry.path_of(version).as_uri(),
                registry.audit_of(version),
            )
            for rank, version in enumerate(group[:top], start=1)
        ]
        groups.append(tuple(rows))
    return Leaderboard(tuple(groups))


def download_best(workspace: Path, target: Path, *, task: str | None = None) -> tuple[str, Path]:
    """Copy the best generator of the newest group to a new folder, every hash checked.

    Returns:
        How the generator is called, and the folder.

    Raises:
        NotRegistered: if there is none.
        DataError: if its files are not those that were registered; nothing is left in `target`.
    """
    from dexsearch.registry.store import download

    board = leaderboard(workspace, task=task, top=1)
    if not board.groups:
        raise NotRegistered(nothing_registered(workspace, task), hint=_command(workspace))
    best = board.groups[0][0]
    registry = read_registry(workspace)
    return best.label, download(registry, best.generator, target).path


def advice(workspace: Path, board: Leaderboard, *, task: str | None) -> str:
    """Say what to do next: use the best one, or make one."""
    if not board.groups:
        return f"{nothing_registered(workspace, task)}\nnext: {_command(workspace)}"
    first = board.groups[0][0]
    return f"next: dexsearch predict {first.label} IN.npy OUT{workspace_flag(workspace)}"


def nothing_registered(workspace: Path, task: str | None) -> str:
    """Tell how far the studies of a workspace have come without a registered generator."""
    kind = f"no {task} generator is" if task else "no generator is"
    told = [f"{kind} registered in {str(workspace)!r}"]
    for study in read_studies(workspace, told.append):
        complete = len(study.in_state("complete"))
        wanted = int(study.space.get("trials", len(study.trials)))
        told.append(f"study {study.name!r}: {complete} of {wanted} trials complete")
    return "; ".join(told)


def _command(workspace: Path) -> str:
    """Return the command that registers something: that of the newest study, else a first one."""
    from dexsearch.config.yaml_file import shipped_spaces

    studies = read_studies(workspace, lambda _: None)
    where = workspace_flag(workspace)
    if not studies:
        return f"dexsearch tune --space quickstart.yaml{where}"
    name = studies[0].name
    if f"{name}.yaml" in shipped_spaces():
        return f"dexsearch tune --space {name}.yaml{where}"
    return f"dexsearch tune --space YOUR.yaml --study {shlex.quote(name)}{where}"
