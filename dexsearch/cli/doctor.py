"""The command `doctor`."""

from typing import Annotated

import typer

from dexsearch.cli.options import (
    DEFAULT_WORKSPACE,
    FormatOption,
    OutputFormat,
    TrackingUriOption,
    WorkspaceOption,
)
from dexsearch.cli.output import print_result, progress_bar
from dexsearch.errors import EnvironmentFault


def doctor(
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not read every byte of every generator.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", help="A running Ray cluster to look at as well."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="DIR|URI", help="Where a search would keep its checkpoints."),
    ] = None,
    tracking_uri: TrackingUriOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Check this machine, workspace, MLflow, a cluster; change nothing. Exits 4 on a problem.

    Example: dexsearch doctor --quick
    """
    from dexsearch.jobs.doctor import diagnose

    with progress_bar("generators") as progress:
        found = diagnose(
            workspace, tracking_uri=tracking_uri, quick=quick, progress=progress,
            address=address, storage=storage,
        )  # fmt: skip
    print_result(found, output_format)
    if not found.is_healthy:
        raise typer.Exit(EnvironmentFault.exit_code)
