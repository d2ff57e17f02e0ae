"""A PostgreSQL server of Debian's package that can be restarted hard; loopback only."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "registry" / "support"))

from postgresql import NAME, programs, run

from dexsearch.registry.server import free_port


@dataclass(frozen=True)
class Database:
    """A running server with one empty database."""

    bin_folder: Path
    folder: Path
    user: str | None
    port: int

    @property
    def uri(self) -> str:
        """What `--postgresql` takes."""
        return f"postgresql://dexsearch@127.0.0.1:{self.port}/{NAME}"

    def start(self) -> None:
        """Start the server and return once it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        self._control("-w", "-l", self.folder / "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once, as a crash does: connections break, the log is replayed on start."""
        self._control("-m", "immediate", "stop")

    def _control(self, *arguments: str | Path) -> None:
        run(self.user, self.folder, self.bin_folder / "pg_ctl", "-D", self.folder / "data",
            *arguments)  # fmt: skip


@contextmanager
def restartable_postgresql() -> Iterator[Database]:
    """Run a server with an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="dxlab-pg-"))
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    database = Database(programs(), folder, user, free_port("127.0.0.1", 0))
    if user is not None:
        shutil.chown(folder, user)
    try:
        run(user, folder, database.bin_folder / "initdb", "-D", folder / "data", "-U",
            "dexsearch", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")  # fmt: skip
        database.start()
        try:
            run(user, folder, database.bin_folder / "createdb", "-h", "127.0.0.1", "-p",
                str(database.port), "-U", "dexsearch", NAME)  # fmt: skip
            yield database
        finally:
            database.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
