"""The command `gc`."""

from typing import Annotated

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, FormatOption, OutputFormat, WorkspaceOption
from dexsearch.cli.output import note, print_result, progress_bar
from dexsearch.wording import workspace_flag


def gc(
    keep: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Best complete trials of each study and head that keep their checkpoint.",
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be freed and stop.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Free the disk of what nobody reads again: old checkpoints, orphans, leftovers of crashes.

    Versions and what their aliases, unfinished trials and running searches need always stays, and
    so do ledgers and datasets.

    Example: dexsearch gc --keep 3 --dry-run
    """
    from dexsearch.jobs.gc import collect_garbage

    with progress_bar("folders") as progress:
        found = collect_garbage(workspace, keep=keep, dry_run=dry_run, progress=progress)
    print_result(found, output_format)
    if dry_run and found.items:
        note(f"next: dexsearch gc --keep {keep}{workspace_flag(workspace)}")
