"""What `dexsearch best` tells: registered generators, ranked within comparable groups.

Reads `registry.jsonl`, and where that is empty the studies' ledgers; no heavy library.
"""

import io
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dexsearch.config.yaml_file import shipped_spaces
from dexsearch.errors import NotRegistered
from dexsearch.ledger.study import StudyRecord, list_studies, read_study
from dexsearch.registry.record import Registration, Registry, read_registry

WIDTH = 100
BASELINES = ("identity_affine", "nearest_pose", "constant")


@dataclass(frozen=True, slots=True)
class Ranked:
    """One registered generator and its place among those that it may be compared with."""

    rank: int
    generator: Registration
    aliases: tuple[str, ...]
    uri: str

    @property
    def label(self) -> str:
        """How to call it: `name@alias`, or `name/version` where it has no alias."""
        name = self.generator.name
        return f"{name}@{self.aliases[0]}" if self.aliases else f"{name}/{self.generator.version}"

    def as_json(self) -> dict[str, Any]:
        """Return the released keys of `best --format json`."""
        found = self.generator
        return {
            "rank": self.rank,
            "name": found.name,
            "version": found.version,
            "aliases": list(self.aliases),
            "task": found.task,
            "study": found.study,
            "trial": found.trial,
            "dataset": found.dataset,
            "metric": found.metric,
            "val_ssim": found.val_ssim,
            "val_ssim_bone": found.val_ssim_bone,
            "val_ssim_tissue": found.val_ssim_tissue,
            "baselines": found.baselines,
            "params": found.params,
            "epochs": found.epochs,
            "uri": self.uri,
            "sha256": found.sha256,
        }


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Groups of comparable generators, the newest group first; each is ranked from 1."""

    groups: tuple[tuple[Ranked, ...], ...]

    def as_json(self) -> list[dict[str, Any]]:
        """Return the rows of every group, one after the other."""
        return [row.as_json() for group in self.groups for row in group]

    def __str__(self) -> str:
        """Return a table per group, with what doing nothing scores below the generators."""
        return "\n".join(_table(group) for group in self.groups) or "no registered generators"


def leaderboard(workspace: Path, *, task: str | None = None, top: int = 10) -> Leaderboard:
    """Rank the registered generators of a workspace, at most `top` of each group."""
    registry = read_registry(workspace)
    groups = []
    for group in registry.groups(task):
        rows = [
            Ranked(rank, version, registry.aliases_of(version), registry.path_of(version).as_uri())
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
    registry: Registry = read_registry(workspace)
    return best.label, download(registry, best.generator, target).path


def advice(workspace: Path, board: Leaderboard, *, task: str | None) -> str:
    """Say what to do next: use the best one, or make one."""
    if not board.groups:
        return f"{nothing_registered(workspace, task)}\nnext: {_command(workspace)}"
    first = board.groups[0][0]
    where = "" if workspace == Path("workspace") else f" --workspace {shlex.quote(str(workspace))}"
    return f"next: dexsearch predict {first.label} IN.npy OUT{where}"


def nothing_registered(workspace: Path, task: str | None) -> str:
    """Tell how far the studies of a workspace have come without a registered generator."""
    kind = f"no {task} generator is" if task else "no generator is"
    told = [f"{kind} registered in {str(workspace)!r}"]
    for study in _studies(workspace):
        complete = len(study.in_state("complete"))
        wanted = int(study.space.get("trials", len(study.trials)))
        told.append(f"study {study.name!r}: {complete} of {wanted} trials complete")
    return "; ".join(told)


def _command(workspace: Path) -> str:
    """Return the command that registers something: that of the newest study, else a first one."""
    studies = _studies(workspace)
    where = "" if workspace == Path("workspace") else f" --workspace {shlex.quote(str(workspace))}"
    if not studies:
        return f"dexsearch tune --space quickstart.yaml{where}"
    name = studies[0].name
    if f"{name}.yaml" in shipped_spaces():
        return f"dexsearch tune --space {name}.yaml{where}"
    return f"dexsearch tune --space YOUR.yaml --study {shlex.quote(name)}{where}"


def _studies(workspace: Path) -> list[StudyRecord]:
    return [read_study(workspace / "studies" / name) for name in list_studies(workspace)]


def _table(group: tuple[Ranked, ...]) -> str:
    """Return the table of one group as text."""
    first = group[0].generator
    targets = [t for t in ("bone", "tissue") if getattr(first, f"val_ssim_{t}") is not None]
    table = Table(
        title=Text(
            _printable(
                f"{first.task}, dataset {first.dataset[:12]}, metric {first.metric}: masked SSIM on "
                "validation subjects"
            )
        ),
        title_justify="left",
    )
    table.add_column("rank", justify="right")
    table.add_column("generator")
    table.add_column("study/trial")
    for heading in ("mean", *targets):
        table.add_column(heading, justify="right")
    table.add_column("epochs", justify="right")
    for row in group:
        table.add_row(*_cells(row, targets))
    table.add_section()
    for name in BASELINES:
        scores = first.baselines.get(name, {})
        values = [scores.get(target) for target in targets]
        known = [value for value in values if value is not None]
        mean = sum(known) / len(known) if len(known) == len(targets) else None
        table.add_row("", name, "baseline", *map(_score, (mean, *values)), "")
    stream = io.StringIO()
    Console(file=stream, width=WIDTH, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _cells(row: Ranked, targets: list[str]) -> list[Text | str]:
    found = row.generator
    names = [f"{found.name}/{found.version}", *(f"@{alias}" for alias in row.aliases)]
    scores = [found.val_ssim, *(getattr(found, f"val_ssim_{target}") for target in targets)]
    return [
        str(row.rank),
        Text(_printable(" ".join(names))),
        Text(_printable(f"{found.study}/{found.trial}")),
        *map(_score, scores),
        str(found.epochs),
    ]


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _printable(text: str) -> str:
    """Escape control characters, so that a stored name cannot drive the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
