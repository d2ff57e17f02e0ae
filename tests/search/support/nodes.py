"""Ray clusters of several nodes on this machine, each with what is wrong with it."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

RAY = str(Path(sys.executable).with_name("ray"))
SUPPORT = Path(__file__).parent
TOKEN = "7" * 64


@dataclass
class Nodes:
    """A head, and what joined it; their processes are known by their scratch folder."""

    scratch: Path
    """Short, because sockets lie in it."""
    home: Path
    secrets: Mapping[str, str]
    """Variables that decide on tokens."""
    port: int = 0
    dashboard_port: int = 0
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{own_ip()}:{self.port}"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHON"))}
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_NUM_REDIS_GET_RETRIES": "2"}
        return {**kept, **quiet, "HOME": str(self.home), **self.secrets, **more}

    def start_head(self, *, cpus: int, gpus: int = 0, dashboard: bool = False) -> None:
        self.port, self.dashboard_port = free_port(), free_port()
        how = ["--head", f"--port={self.port}", f"--dashboard-port={self.dashboard_port}"]
        how.append(f"--include-dashboard={str(dashboard).lower()}")
        self.wait_for(self.node(how, cpus=cpus, gpus=gpus))

    def join(
        self, name: str, *, cpus: int = 1, gpus: int = 0, hide: Path | None = None, **more: str
    ) -> subprocess.Popen[str]:
        """Begin to start a node, whose host has a name of its own where we are root."""
        prefix = []
        if os.geteuid() == 0:
            mount = f"mount -t tmpfs -o size=1m tmpfs {hide} && " if hide else ""
            script = f'hostname {name} && {mount}exec "$@"'
            prefix = ["unshare", "--mount", "--uts", "sh", "-c", script, "-"]
        return self.node(
            [f"--address={self.address}"], cpus=cpus, gpus=gpus, prefix=prefix, **more
        )

    def node(
        self, how: Sequence[str], *, cpus: int, gpus: int, prefix: Sequence[str] = (), **more: str
    ) -> subprocess.Popen[str]:
        folder = self.scratch / str(len(self.started))
        command = [
            *prefix, RAY, "start", *how, f"--num-cpus={cpus}", f"--num-gpus={gpus}",
            f"--node-ip-address={own_ip()}", "--object-store-memory=80000000",
            f"--temp-dir={folder}", "--disable-usage-stats",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, env=self.environment(**more), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=self.scratch,
        )  # fmt: skip
        self.started.append(process)
        return process

    def wait_for(self, *processes: subprocess.Popen[str]) -> None:
        for process in processes:
            told, _ = process.communicate(timeout=120)
            assert process.returncode == 0, told

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        deadline = time.monotonic() + 20
        while pids := pids_of(self.scratch):
            assert time.monotonic() < deadline, pids
            for pid in pids:
                kill(pid)
            time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("", 0))
        return int(free.getsockname()[1])


def kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return


def pids_of(folder: Path) -> list[int]:
    """Processes whose command line names a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{folder}/".encode() in command and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def own_ip() -> str:
    """The address that Ray takes for this machine, whatever it is told about the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        try:
            out.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(out.getsockname()[0])


@contextmanager
def nodes_here(**secrets: str) -> Iterator[Nodes]:
    """Nodes that are gone afterwards, by process id."""
    scratch = Path(tempfile.mkdtemp(prefix="dxn", dir="/tmp"))
    home = scratch / "home"
    home.mkdir()
    nodes = Nodes(scratch, home, secrets)
    try:
        yield nodes
    finally:
        nodes.end()
        shutil.rmtree(scratch, ignore_errors=True)
