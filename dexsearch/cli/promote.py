"""The commands `promote`, `rollback` and `history`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dexsearch.cli.compare import DatasetOption, MarginOption
from dexsearch.cli.options import (
    DEFAULT_WORKSPACE,
    FormatOption,
    OutputFormat,
    TrackingUriOption,
    WorkspaceOption,
)
from dexsearch.cli.output import note, print_result, progress_bar
from dexsearch.wording import printable, workspace_flag

if TYPE_CHECKING:
    from dexsearch.jobs.promote import Promotion


def promote(
    model: Annotated[str, typer.Argument(help="name/version, or name@challenger.")],
    force: Annotated[
        bool, typer.Option("--force", help="Move without evidence; needs --reason.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why, for the record.")
    ] = None,
    margin: MarginOption = 0.005,
    dataset: DatasetOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    tracking_uri: TrackingUriOption = None,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Make a generator the champion of its name if the hold-out shows that it is better.

    Looks at the hold-out, which is counted. Exit code 5 if the champion stays.

    Example: dexsearch promote dexsearch-bone@challenger
    """
    from dexsearch.jobs.promote import promote_model

    with progress_bar("images") as progress:
        done = promote_model(
            workspace, model, forced=force, reason=reason, margin=margin, data=dataset,
            progress=progress,
        )  # fmt: skip
    print_result(done, output_format)
    done.refuse_unless_moved()
    _follow_up(workspace, done, tracking_uri)


def rollback(
    name: Annotated[str, typer.Argument(help="Registered name, such as dexsearch-bone.")],
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why, for the record.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    tracking_uri: TrackingUriOption = None,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Put the previous champion back; the same command again undoes it.

    Example: dexsearch rollback dexsearch-bone --reason "ghosts near the diaphragm"
    """
    from dexsearch.jobs.promote import roll_back

    done = roll_back(workspace, name, reason=reason)
    print_result(done, output_format)
    _follow_up(workspace, done, tracking_uri)


def history(
    name: Annotated[
        str | None, typer.Argument(help="Registered name; otherwise all of them.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """List the moves of aliases, the looks at the hold-out and their verdicts, oldest first.

    Example: dexsearch history dexsearch-bone
    """
    from dexsearch.jobs.history import read_history

    print_result(read_history(workspace, name), output_format)


def _follow_up(workspace: Path, done: "Promotion", tracking_uri: str | None) -> None:
    """Show a move in MLflow, and say what can be done next."""
    from dexsearch.jobs.promote import show_in_mlflow

    show_in_mlflow(workspace, tracking_uri, lambda text: note(printable(text)))
    where = workspace_flag(workspace)
    note(printable(f"next: dexsearch predict {done.name}@champion IN OUT{where}"))
    if done.moved is not None and done.moved.previous is not None:
        note(printable(f"to undo it: dexsearch rollback {done.name}{where}"))
