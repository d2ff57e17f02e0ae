"""What `dexsearch best` tells: registered generators, ranked within comparable groups.

Reads `registry.jsonl`, and where that is empty the studies' ledgers; no heavy library. The same
rows come from MLflow's tags where `--tracking-uri` names a server.
"""

import difflib
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsearch.errors import ConfigurationError, NotRegistered
from dexsearch.jobs.merit import OBJECTIVE, check_metric, merit, scores_of
from dexsearch.jobs.ranked import Ranked
from dexsearch.jobs.waiting import Waiting, champion_of, waiting_for_promotion
from dexsearch.ledger.studies import list_studies, read_studies
from dexsearch.registry.entries import Registration
from dexsearch.registry.record import Registry, read_registry
from dexsearch.registry.standing import holdout_of, replicates_of, version_label
from dexsearch.wording import workspace_flag


@dataclass(frozen=True, slots=True)
class Choice:
    """Which generators to show, and by what to rank them."""

    task: str | None = None
    study: str | None = None
    metric: str = OBJECTIVE
    """Name of a recorded score."""
    top: int = 10
    """Generators of each group."""


EVERYTHING = Choice()


@dataclass(frozen=True, slots=True)
class Group:
    """Comparable generators, best first."""

    rows: tuple[Ranked, ...]
    waiting: Waiting | None = None


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Groups of comparable generators, the newest group first; each is ranked from 1."""

    groups: tuple[Group, ...]
    metric: str = OBJECTIVE

    @property
    def first(self) -> Ranked:
        """The best generator of the newest group; there has to be a group."""
        return self.groups[0].rows[0]

    @property
    def promotions(self) -> list[str]:
        """Commands that ask whether a version with a higher validation score is better."""
        return [
            f"dexsearch promote {version_label(group.waiting.version)}"
            for group in self.groups
            if group.waiting is not None and group.waiting.may_be_promoted
        ]

    def as_json(self) -> list[dict[str, Any]]:
        """Return the rows of every group, one after the other."""
        return [row.as_json() for group in self.groups for row in group.rows]

    def as_csv(self) -> str:
        """Return one line per generator, for a spreadsheet."""
        from dexsearch.jobs.ranking_csv import ranking_csv

        return ranking_csv([row for group in self.groups for row in group.rows])

    def as_markdown(self) -> str:
        """Return a table per group that can be pasted."""
        from dexsearch.jobs.ranking_markdown import ranking_markdown

        return "\n".join(ranking_markdown(g.rows, self.metric) for g in self.groups) or _NOTHING

    def __str__(self) -> str:
        """Return a table per group, with what doing nothing scores below the generators."""
        from dexsearch.jobs.ranking_text import ranking_text

        shown = []
        for group in self.groups:
            waiting = "" if group.waiting is None else str(group.waiting)
            shown.append(ranking_text(group.rows, self.metric, remark=waiting))
        return "\n".join(shown) or _NOTHING


@dataclass(frozen=True, slots=True)
class Answer:
    """What `best` says."""

    board: Leaderboard
    advice: str
    """What to do next, a line each."""


_NOTHING = "no registered generators"


def leaderboard(workspace: Path, choice: Choice = EVERYTHING) -> Leaderboard:
    """Rank the registered generators of a workspace.

    Raises:
        ConfigurationError: if the study or the metric of `choice` is not known.
    """
    registry = read_registry(workspace)
    if choice.study not in list_studies(workspace):  # one that registered nothing yet is known
        check_study(registry, choice.study)
    return rank(registry, choice, uri_of=lambda version: registry.path_of(version).as_uri())


def rank(
    registry: Registry, choice: Choice, *, uri_of: Callable[[Registration], str]
) -> Leaderboard:
    """Rank what a registry holds, wherever it was read from.

    A group in which no generator has the score is left out.

    Raises:
        ConfigurationError: if nothing has a score of that name.
    """
    chosen = [v for v in registry.versions if _fits(v, choice)]
    check_metric(choice.metric, chosen)
    groups = []
    for everyone in registry.groups(choice.task):
        mine = [v for v in everyone if _fits(v, choice)]
        if not any(scores_of(v).get(choice.metric) is not None for v in mine):
            continue
        mine.sort(key=lambda v: merit(choice.metric, scores_of(v)), reverse=True)  # stable
        champion = champion_of(registry, everyone)
        rows = [
            _row(registry, number, version, champion, uri_of(version))
            for number, version in enumerate(mine[: choice.top], start=1)
        ]
        groups.append(Group(tuple(rows), waiting_for_promotion(registry, everyone, champion)))
    return Leaderboard(tuple(groups), choice.metric)


def best_here(workspace: Path, choice: Choice, download_to: Path | None = None) -> Answer:
    """Answer from the registry of a workspace.

    Args:
        workspace: where `registry.jsonl` is.
        choice: which generators, by what.
        download_to: a new folder for a copy of the first one, every hash checked.

    Raises:
        ConfigurationError: if the study or the metric of `choice` is not known.
        NotRegistered: if there is nothing to copy.
        DataError: if its files are not those that were registered; nothing is left in the folder.
    """
    board = leaderboard(workspace, choice)
    if download_to is not None:
        from dexsearch.registry.store import download

        if not board.groups:
            raise NotRegistered(nothing_registered(workspace, choice), hint=_command(workspace))
        download(read_registry(workspace), board.first.generator, download_to)
    return Answer(board, _advice(workspace, board, choice))


def _advice(workspace: Path, board: Leaderboard, choice: Choice) -> str:
    """Say what to do next: use the best one, ask whether another one is better, or make one."""
    where = workspace_flag(workspace)
    if not board.groups:
        return f"{nothing_registered(workspace, choice)}\nnext: {_command(workspace)}"
    lines = [f"next: dexsearch predict {board.first.label} IN.npy OUT{where}"]
    lines += [f"next: {command}{where}" for command in board.promotions]
    return "\n".join(lines)


def nothing_registered(workspace: Path, choice: Choice = EVERYTHING) -> str:
    """Tell how far the studies of a workspace have come without a registered generator."""
    kind = f"no {choice.task} generator" if choice.task else "no generator"
    of_study = f" of study {choice.study!r}" if choice.study else ""
    told = [f"{kind}{of_study} is registered in {str(workspace)!r}"]
    for study in read_studies(workspace, told.append):
        complete = len(study.in_state("complete"))
        wanted = int(study.space.get("trials", len(study.trials)))
        told.append(f"study {study.name!r}: {complete} of {wanted} trials complete")
    return "; ".join(told)


def _fits(version: Registration, choice: Choice) -> bool:
    return choice.task in (None, version.task) and choice.study in (None, version.study)


def check_study(registry: Registry, study: str | None) -> None:
    """Refuse a study that nothing was registered of, unless nothing is registered at all."""
    known = sorted({version.study for version in registry.versions})
    if study is None or study in known or not known:
        return
    close = difflib.get_close_matches(study, known, n=1)
    raise ConfigurationError(
        f"no generator of study {study!r} is registered; studies: {', '.join(known)}",
        hint=f"did you mean --study {shlex.quote(close[0])}?" if close else "name one of them",
    )


def _row(
    registry: Registry, number: int, version: Registration, champion: Registration | None, uri: str
) -> Ranked:
    comparable = champion is not None and champion.name == version.name
    return Ranked(
        number,
        version,
        registry.aliases_of(version),
        uri,
        audit=registry.audit_of(version),
        holdout=holdout_of(registry, version),
        replicated=replicates_of(registry, version),
        above_champion=version.val_ssim - champion.val_ssim if champion and comparable else None,
    )


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
