"""MLflow's server on a workspace: started, waited for, and stopped without a trace."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from dexsearch.errors import ConfigurationError, EnvironmentFault
from dexsearch.registry import tied
from dexsearch.registry.address import DATABASE
from dexsearch.registry.own_database import follow_move, remedy
from dexsearch.registry.server_settings import (
    ServerSettings,
    server_command,
    server_environment,
    url_of,
)
from dexsearch.registry.tracking import ARTIFACTS, EXPERIMENT

__all__ = ["ServerSettings", "free_port", "running_server", "url_of", "wait_until_it_answers"]

START_PATIENCE_S, STOP_PATIENCE_S = 120.0, 15.0


@contextmanager
def running_server(settings: ServerSettings) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a server; yield its URL and process when it answers; stop it whatever happens.

    Raises:
        ConfigurationError: if the host, a name or the database's URI cannot be used.
        EnvironmentFault: if the port is taken, the database does not answer, something is not
            installed, or the server ends or stays silent.
    """
    port = free_port(settings.host, settings.port)
    settings.workspace.mkdir(parents=True, exist_ok=True)
    environment = server_environment(settings, os.environ)
    if settings.postgresql is None:
        _follow_workspace(settings.workspace)
    # Modules are looked for in the server's folder, so that is an empty one of its own.
    with (
        TemporaryDirectory(prefix="dexsearch-server-") as folder,
        subprocess.Popen(
            [sys.executable, tied.__file__, str(os.getpid()), *server_command(settings, port)],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            start_new_session=True,  # Ctrl-C reaches us alone, and one signal ends all of it
        ) as process,
    ):
        try:
            url = url_of(settings.host, port)
            wait_until_it_answers(process, url)
            yield url, process
        finally:
            _stop(process)


def free_port(host: str, port: int) -> int:
    """Return `port` if it is free, or any free one for 0.

    Raises:
        ConfigurationError: if `host` is no address of this machine.
        EnvironmentFault: if the port is taken or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except socket.gaierror as error:
        raise ConfigurationError(
            f"--host {host!r} is no address of this machine: {error.strerror}",
            hint="127.0.0.1 is this machine alone, 0.0.0.0 every network that it is in",
        ) from None
    except OSError as error:
        raise EnvironmentFault(
            f"port {port} of {host!r} cannot be used: {error.strerror}",
            hint=f"another one: --port {port + 1}; --port 0 takes any that is free",
        ) from None


def _follow_workspace(workspace: Path) -> None:
    """Let a workspace that was moved or copied show its own files, not those of the old place."""
    database = workspace / DATABASE
    try:
        follow_move(database, (workspace / ARTIFACTS).absolute().as_uri(), EXPERIMENT)
    except sqlite3.Error as error:
        raise EnvironmentFault(
            f"MLflow's {str(database)!r} cannot be used: {error}",
            hint=remedy(str(error)),
        ) from None


def wait_until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    """Return when `url`/health answers; MLflow's tracking and scoring servers both have it.

    Raises:
        EnvironmentFault: if the process ends before, or stays silent for two minutes.
    """
    opener = build_opener(ProxyHandler({}))  # a proxy knows nothing of this machine
    give_up = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise EnvironmentFault(
                f"MLflow ended with code {process.returncode} before it answered; "
                "what it said is above"
            )
        with suppress(URLError, OSError), opener.open(f"{url}/health", timeout=5):
            return
        time.sleep(0.1)
    raise EnvironmentFault(f"MLflow did not answer at {url} within {START_PATIENCE_S:.0f} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and whatever it started, gently first."""
    for number, patience_s in ((signal.SIGTERM, STOP_PATIENCE_S), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=patience_s)
