"""The command `best`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, FormatOption, OutputFormat, WorkspaceOption
from dexsearch.cli.output import note, print_result
from dexsearch.wording import printable


def best(
    task: Annotated[
        Literal["bone", "tissue", "joint"] | None,
        typer.Option(help="Only generators of this task."),
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, metavar="N", help="Generators to show of each group.")
    ] = 10,
    download: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Copy the best one (weights, config, pictures) to DIR."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show the best registered generators, beside what doing nothing scores.

    Example: dexsearch best --task bone --download generator
    """
    from dexsearch.jobs.best import advice, download_best, leaderboard

    board = leaderboard(workspace, task=task, top=top)
    if download is not None:
        label, folder = download_best(workspace, download, task=task)
        note(printable(f"copied {label} to {folder}; every hash agrees"))
    print_result(board, output_format)
    for line in advice(workspace, board, task=task).splitlines():
        note(printable(line))
