"""The command `server`."""

import sys
from typing import Annotated

import typer

from dexsearch.cli.options import DEFAULT_WORKSPACE, WorkspaceOption
from dexsearch.cli.output import note


def server(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any free one.")
    ] = 5000,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Host name that is answered too; may be repeated."),
    ] = None,
    auth: Annotated[
        bool,
        typer.Option("--auth", help="Ask for a password; see MLFLOW_AUTH_ADMIN_PASSWORD."),
    ] = False,
    postgresql: Annotated[
        str | None,
        typer.Option(
            envvar="DEXSEARCH_POSTGRESQL",
            metavar="URI",
            show_envvar=True,
            help="Database instead of the workspace's SQLite file.",
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Show studies and generators in MLflow, on this machine alone unless told otherwise.

    Example: dexsearch server --port 0
    """
    from dexsearch.jobs.server import serve
    from dexsearch.registry.server_settings import ServerSettings

    settings = ServerSettings(workspace, host, port, tuple(name or ()), auth, postgresql)
    serve(settings, show=_show, tell=note)


def _show(url: str) -> None:
    """Print the address at once, also into a pipe that somebody waits at."""
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
