"""What MLflow's server is told: settings that are safe and fast, whatever the user's own are.

Safe      loopback unless told otherwise; only the names that were given are answered; no
          telemetry, no pickles, no code out of models, no assistant with a shell; passwords
          never on a command line.
Fast      one process, 64 database connections, no job runner: 5 s and 491 MB to start instead
          of 11 s and 774 MB.
"""

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dexsearch.errors import ConfigurationError, EnvironmentFault
from dexsearch.registry.authentication import authentication_environment
from dexsearch.registry.tracking import ARTIFACTS, SAFE_ENVIRONMENT, tracking_uri

WILDCARDS = ("", "0.0.0.0", "::")
OF_ANOTHER_SERVER = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_ENABLE_WORKSPACES",
    "MLFLOW_DEFAULT_ARTIFACT_ROOT",
    "MLFLOW_SERVE_ARTIFACTS",
    "MLFLOW_ARTIFACTS_ONLY",
    "MLFLOW_STATIC_PREFIX",
)
"""Settings that would make this server another one than its URL promises."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
QUIET_ENVIRONMENT = {
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_ENABLE_REMOTE_ASSISTANT": "false",
    "MLFLOW_ENABLE_ASSISTANT_SANDBOX": "true",
}
"""MLflow's chat assistant runs shell commands as the server's user for whoever reaches loopback,
on a shared machine everybody; it has no switch, but inside its sandbox it reaches nothing."""
FAST_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "64",
    "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "64",
}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Which server to start."""

    workspace: Path
    """Its artifacts, and its database unless `postgresql` names another one."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 5000
    """0 takes any free one."""
    names: tuple[str, ...] = ()
    """Host names, beside this machine's loopback, under which browsers may ask."""
    auth: bool = False
    """Whether everybody has to log in."""
    postgresql: str | None = None
    """URI of a database instead of the workspace's SQLite file."""


def server_command(settings: ServerSettings, port: int) -> list[str]:
    """Return the command; nothing in it is secret, because every user can read it."""
    command = [sys.executable, "-m", "mlflow", "server"]
    command += ["--host", settings.host, "--port", str(port), "--workers", "1"]
    command += ["--uvicorn-opts", "--log-level warning --timeout-graceful-shutdown 5"]
    return [*command, "--app-name", "basic-auth"] if settings.auth else command


def server_environment(settings: ServerSettings, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the server.

    Args:
        settings: what was asked for.
        given: the environment of this process; what would undo a safe setting is left out.

    Raises:
        ConfigurationError: if a name is none, or the password is missing or known to everybody.
        EnvironmentFault: if something is not installed, or the database does not answer.
    """
    database = tracking_uri(settings.workspace)
    if settings.postgresql is not None:
        database = _checked_database(settings.postgresql)
    kept = {k: v for k, v in given.items() if not k.startswith("MLFLOW_SERVER_")}
    for name in OF_ANOTHER_SERVER:
        kept.pop(name, None)
    hosts, origins = allowed_hosts(settings), allowed_origins(settings)
    made = {
        **kept,
        **SAFE_ENVIRONMENT,
        **QUIET_ENVIRONMENT,
        **FAST_ENVIRONMENT,
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_REGISTRY_STORE_URI": database,
        "MLFLOW_ARTIFACTS_DESTINATION": (settings.workspace / ARTIFACTS).absolute().as_uri(),
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        "PYTHONWARNINGS": "ignore",
        "PYTHONSAFEPATH": "1",
    }
    if origins:
        made["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(origins)
    if settings.auth:
        made |= authentication_environment(settings.workspace, given)
    return made


def allowed_hosts(settings: ServerSettings) -> list[str]:
    """Return the patterns of `Host` headers that are answered, with and without a port.

    Raises:
        ConfigurationError: if a name is none; `*` would let any web page ask.
    """
    names = [*LOOPBACK, *settings.names]
    if settings.host not in (*WILDCARDS, *LOOPBACK, "::1"):
        names.append(_in_url(settings.host))
    for name in names:
        if not name or any(sign in name for sign in "*?,/ ") or "://" in name:
            raise ConfigurationError(
                f"--name {name!r} is no host name, such as mlflow.clinic.org or 10.0.0.7",
                hint="repeat --name for each name that people type into their browser",
            )
    patterns = [name.replace("[", "[[]", 1) for name in names]  # MLflow takes them as globs
    return [*names, *(f"{pattern}:*" for pattern in patterns)]


def allowed_origins(settings: ServerSettings) -> list[str]:
    """Return the origins whose pages may change something: those of the names (and loopback)."""
    hosts = [host for host in allowed_hosts(settings) if "[" not in host]
    others = [host for host in hosts if host.removesuffix(":*") not in LOOPBACK]
    return [f"{scheme}://{host}" for scheme in ("http", "https") for host in others]


def url_of(host: str, port: int) -> str:
    """Return the address to type into a browser on this machine."""
    return f"http://{'127.0.0.1' if host in WILDCARDS else _in_url(host)}:{port}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _checked_database(uri: str) -> str:
    """Ask the database once; MLflow would try for two minutes before it says what is wrong."""
    if not uri.startswith(("postgresql://", "postgresql+psycopg2://")):
        raise ConfigurationError(
            f"--postgresql {uri.split('@')[-1]!r} is no address of a PostgreSQL database",
            hint="for example postgresql://USER@HOST:5432/mlflow; the password may stand in "
            "~/.pgpass or PGPASSWORD",
        )
    try:
        import psycopg2  # type: ignore[import-untyped]  # noqa: PLC0415  (optional)
    except ImportError:
        raise EnvironmentFault(
            "PostgreSQL needs psycopg2, which is not installed",
            hint="pip install 'dexsearch[postgresql]'",
        ) from None
    try:
        plain = uri.replace("postgresql+psycopg2://", "postgresql://", 1)
        psycopg2.connect(plain, connect_timeout=10).close()
    except psycopg2.Error as error:
        told = " ".join(str(error).split())
        raise EnvironmentFault(f"the PostgreSQL database does not answer: {told}") from None
    return plain.replace("postgresql", "postgresql+psycopg2", 1)  # SQLAlchemy 2.1 asks for it
