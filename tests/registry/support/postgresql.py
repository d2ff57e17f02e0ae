"""A real PostgreSQL server of Debian's package, on a free port of loopback, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dexsearch.registry.server import free_port

REQUIRED = "DEXSEARCH_REQUIRE_POSTGRESQL"
PLACES = "/usr/lib/postgresql/*/bin/initdb"
NAME = "mlflow"


def programs() -> Path:
    """Return the folder of the newest server's programs; skip, or fail, where there is none."""
    found = sorted(Path("/").glob(PLACES.lstrip("/")))
    if found:
        return found[-1].parent
    if os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, but there is no {PLACES}")
    pytest.skip(f"no PostgreSQL server in {PLACES}; {REQUIRED}=1 makes that a failure")


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Run a server with an empty database; yield the database's URI."""
    bin_folder = programs()
    folder = Path(tempfile.mkdtemp(prefix="dexsearch-postgresql-"))
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if user is not None:
        shutil.chown(folder, user)
    port = free_port("127.0.0.1", 0)
    data = folder / "data"
    try:
        run(user, folder, bin_folder / "initdb", "-D", data, "-U", "dexsearch", "-A", "trust",
            "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
        log = folder / "log"
        run(user, folder, bin_folder / "pg_ctl", "-D", data, "-w", "-l", log, "-o", options,
            "start")  # fmt: skip
        try:
            run(user, folder, bin_folder / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U",
                "dexsearch", NAME)  # fmt: skip
            yield f"postgresql://dexsearch@127.0.0.1:{port}/{NAME}"
        finally:
            run(user, folder, bin_folder / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(user: str | None, folder: Path, *command: str | Path) -> None:
    """Run a command as another user, telling what it said where it fails."""
    who = pwd.getpwnam(user) if user is not None else None
    done = subprocess.run(
        list(map(str, command)), cwd=folder, user=None if who is None else who.pw_uid,
        group=None if who is None else who.pw_gid, extra_groups=None if who is None else [],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stderr}"
