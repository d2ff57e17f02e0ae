"""The command `best`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, OutputFormat, WorkspaceOption
from dexsearch.cli.output import note, print_result, progress_bar
from dexsearch.wording import printable

if TYPE_CHECKING:
    from dexsearch.jobs.best import Leaderboard


class TableFormat(StrEnum):
    """How the generators are listed on stdout."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


def best(
    task: Annotated[
        Literal["bone", "tissue", "joint"] | None,
        typer.Option(help="Only generators of this task."),
    ] = None,
    study: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only generators of this study.")
    ] = None,
    metric: Annotated[
        str,
        typer.Option(metavar="SCORE", help="Recorded score to rank by, for example val_mae."),
    ] = "val_ssim",
    top: Annotated[
        int, typer.Option(min=1, metavar="N", help="Generators to show of each group.")
    ] = 10,
    download: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Copy the best one (weights, config, pictures) to DIR."),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Ask an MLflow server instead of a workspace: http(s)://, postgresql:// or "
            "sqlite:///.",
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    table_format: Annotated[
        TableFormat, typer.Option("--format", help="For people, programs, sheets or papers.")
    ] = TableFormat.TEXT,
) -> None:
    """Show the best registered generators, beside what doing nothing scores.

    Example: dexsearch best --task bone --download generator
    """
    from dexsearch.jobs.best import Choice, best_here

    choice = Choice(task, study, metric, top)
    if tracking_uri is None:
        answer = best_here(workspace, choice, download)
    else:
        from dexsearch.jobs.best_remote import best_there

        answer = best_there(tracking_uri, choice, download, tell=_tell, progress=progress_bar)
    if download is not None:
        note(printable(f"copied {answer.board.first.label} to {download}; every hash agrees"))
    _print(answer.board, table_format)
    for line in answer.advice.splitlines():
        _tell(line)


def _tell(line: str) -> None:
    note(printable(line))


def _print(board: "Leaderboard", table_format: TableFormat) -> None:
    match table_format:
        case TableFormat.CSV:
            print_result(board.as_csv(), OutputFormat.TEXT)
        case TableFormat.MARKDOWN:
            print_result(board.as_markdown(), OutputFormat.TEXT)
        case _:
            print_result(board, OutputFormat(table_format))
