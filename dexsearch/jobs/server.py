"""What `dexsearch server` does: MLflow on a workspace until somebody stops it."""

from collections.abc import Callable

from dexsearch.errors import EnvironmentFault
from dexsearch.registry.server import running_server
from dexsearch.registry.server_settings import LOOPBACK, WILDCARDS, ServerSettings

Tell = Callable[[str], None]


def serve(settings: ServerSettings, *, show: Tell, tell: Tell) -> None:
    """Run MLflow's server until it is interrupted.

    Args:
        settings: which server.
        show: is given its URL, once it answers.
        tell: is given what the user should know, one line each.

    Raises:
        ConfigurationError: if the settings cannot be used as they are.
        EnvironmentFault: if the server does not start, or ends by itself.
    """
    open_to_others = settings.host not in (*LOOPBACK, "::1")
    if open_to_others and not settings.auth:
        tell("warning: everybody who reaches this machine can read and delete; see --auth")
    if settings.host in WILDCARDS and not settings.names:
        tell("note: other machines need a name that is allowed: --name NAME")
    tell("starting MLflow")
    with running_server(settings) as (url, process):
        show(url)
        tell("Ctrl-C stops it. next: dexsearch sync brings it up to the ledgers")
        process.wait()
    raise EnvironmentFault(
        f"MLflow ended by itself with code {process.returncode}; what it said is above"
    )
