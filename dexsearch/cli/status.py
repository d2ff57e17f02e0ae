"""The command `status`."""

from typing import Annotated

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, FormatOption, OutputFormat, WorkspaceOption
from dexsearch.cli.output import print_result


def status(
    study: Annotated[
        str | None, typer.Argument(help="Name of the study; otherwise the newest.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Show the trials of a study by state, and the best so far.

    Example: dexsearch status quickstart
    """
    from dexsearch.jobs.status import study_status

    print_result(study_status(workspace, study), output_format)
