"""A Ray cluster on hosts of namespaces.py: a head and workers, each killed by its own number."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from namespaces import Hosts

PORT = 6379
_RAY = str(Path(sys.executable).with_name("ray"))
_TRIAL = ("ray::ResourceTrainable", "ray::TrialActor")
_SPARE = "ray::IDLE"
_AT_REST_S = 1.0
_DISK_BYTES = 2**30
_STARTED = "Ray runtime started"
_ISOLATED = ["unshare", "--pid", "--fork", "--mount", "--kill-child", "--mount-proc"]
HEALTH = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""What finds a silent node in some seconds; it belongs in the environment of the head."""


class LabCluster:
    """Nodes by host number; host 1 is the head."""

    def __init__(
        self, hosts: Hosts, folder: Path, environment: Mapping[str, str], *, n: int,
        health: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.hosts = hosts
        self.environment = dict(environment)
        self._n = n
        self._health = dict(health)
        self._folder = folder
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}
        self._ticks: dict[int, tuple[int, float]] = {}

    @property
    def address(self) -> str:
        """What `--address` takes."""
        return f"{self.hosts.address(1)}:{PORT}"

    @property
    def disk(self) -> Path:
        """A disk of a GiB that every node sees."""
        return self._folder.with_name("disk")

    @property
    def shared(self) -> Path:
        """A folder that every node sees, for storage."""
        return self._folder.with_name("shared")

    def start_all(self) -> None:
        """Start the head, then the others, and wait for them."""
        self.start(1, **self._health)
        wait_until(lambda: _answers(self.address), 90)
        others = range(2, self._n + 1)
        for host in others:
            self.start(host)
        self.wait(1, *others)

    def start(self, host: int, *, setup: str = "", gpus: int = 0, **more: str) -> None:
        """Start a node and return at once; it has one processor, the head has none for trials.

        Args:
            host: its number.
            setup: what a shell does before, in the mount namespace of the node; ends in `&&`.
            gpus: how many it says it has.
            more: goes into its environment.
        """
        scratch = self._folder / f"n{host}-{len(list(self._folder.iterdir()))}"
        scratch.mkdir()
        role = ["--head", f"--port={PORT}", "--include-dashboard=false"]
        if host != 1:
            role = [f"--address={self.address}"]
        command = [
            *self.hosts.inside(host), *_ISOLATED,
            "sh", "-c", f'{_umask(host)} {setup} exec "$@"', "sh",
            _RAY, "start", *role, "--block",
            f"--node-ip-address={self.hosts.address(host)}", f"--num-cpus={int(host != 1)}",
            f"--num-gpus={gpus}", "--object-store-memory=100000000", f"--temp-dir={scratch}",
            "--disable-usage-stats",
        ]  # fmt: skip
        with self._told(host).open("wb") as told:
            self._nodes[host] = subprocess.Popen(
                command, stdout=told, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**self.environment, **more}, start_new_session=True,
            )  # fmt: skip

    def wait(self, *hosts: int, timeout_s: float = 150) -> None:
        """Return once nodes have joined the cluster."""
        for host in hosts:
            node, told = self._nodes[host], self._told(host)
            wait_until(
                lambda told=told: _STARTED in told.read_text(),  # type: ignore[misc]
                timeout_s,
                alive=node,
                why=lambda told=told: told.read_text()[-2000:],  # type: ignore[misc]
            )

    def kill(self, host: int) -> None:
        """Kill every process of a node, as if its power was cut."""
        node = self._nodes.pop(host)
        for pid in self.hosts.processes(host):
            if "raylet" in _program(pid):
                os.kill(pid, signal.SIGKILL)
        node.kill()
        node.wait()

    def leave(self, host: int) -> None:
        """Kill a node and return once the head knows."""
        self.kill(host)
        wait_until(lambda: self.n_alive() == len(self._nodes), 60)

    def n_alive(self) -> int:
        """Return how many nodes the head takes for alive."""
        from ray._raylet import GcsClient

        nodes = GcsClient(address=self.address).get_all_node_info(timeout=10)
        return sum(node.state == 0 for node in nodes.values())

    @property
    def trainers(self) -> list[int]:
        """The hosts that hold a trial."""
        return [host for host in self._nodes if self.trial_processes(host)]

    @property
    def idle(self) -> list[int]:
        """The hosts that could hold a trial and do not."""
        return [host for host in self._nodes if host != 1 and not self.trial_processes(host)]

    def trial_processes(self, host: int) -> list[int]:
        """Return the processes of a host that hold a trial."""
        running = self.hosts.processes(host)
        return [pid for pid, command in running.items() if command.startswith(_TRIAL)]

    def has_spare(self, host: int) -> bool:
        """Tell whether a process waits on a host that has imported what a trial needs.

        It is named so while it imports, so it has to have been at rest for a while.
        """
        for pid, told in self.hosts.processes(host).items():
            if told.startswith(_SPARE) and "libtorch" in _mapped(pid):
                used, now = _processor_ticks(pid), time.monotonic()
                before, since = self._ticks.get(pid, (-1, now))
                self._ticks[pid] = (used, since if used <= before + 1 else now)
                if now - self._ticks[pid][1] >= _AT_REST_S:
                    return True
        return False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend every trial as long as the block runs, so that none ends meanwhile."""
        pids = [pid for host in self._nodes for pid in self.trial_processes(host)]
        _send(signal.SIGSTOP, pids)
        try:
            yield
        finally:
            _send(signal.SIGCONT, pids)

    def stop(self) -> None:
        """Kill every node."""
        for host in sorted(self._nodes, reverse=True):
            self.kill(host)

    def _told(self, host: int) -> Path:
        return self._folder.with_name(f"{self._folder.name}-host{host}.txt")


def _send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


_UMASKS = {3: "027", 4: "077"}


def mode_of_files(host: int) -> int:
    """Return the mode of the files that a node writes: each has its own, so it shows who did."""
    return 0o666 & ~int(_UMASKS.get(host, "022"), 8)


def _umask(host: int) -> str:
    return f"umask {_UMASKS.get(host, '022')} &&"


def _program(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def _mapped(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


def _processor_ticks(pid: int) -> int:
    """Return what a process has used of processors, in hundredths of a second."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


@contextmanager
def lab_cluster(
    n: int = 3, *, health: Mapping[str, str] = HEALTH, **environment: str
) -> Iterator[LabCluster]:
    """Run a cluster of a head and `n - 1` nodes that train, and a spare host.

    `health` is the environment of the head alone, `environment` that of every node.
    """
    folder = Path(tempfile.mkdtemp(prefix="dxlab-", dir="/tmp"))  # short: sockets lie in it
    for name in ("ray", "disk", "shared"):
        (folder / name).mkdir()
    try:
        with _mounted(folder / "disk"), Hosts(n + 1) as hosts:
            everywhere = plain_environment(folder) | environment
            cluster = LabCluster(hosts, folder / "ray", everywhere, n=n, health=health)
            try:
                cluster.start_all()
                yield cluster
            finally:
                cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _mounted(folder: Path) -> Iterator[None]:
    """Mount a small disk that takes as much of the real one as is written; nodes see it later."""
    image = folder.with_name("disk.img")
    image.touch()
    os.truncate(image, _DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def plain_environment(home: Path) -> dict[str, str]:
    """Return our environment without settings of Ray, and with another home."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_", "MLFLOW_"))}
    return kept | {
        "HOME": str(home), "RAY_AUTH_MODE": "disabled", "NO_COLOR": "1", "COLUMNS": "200",
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3]),
    }  # fmt: skip


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(
    is_so: Callable[[], bool],
    timeout_s: float,
    *,
    alive: "subprocess.Popen[bytes] | None" = None,
    why: Callable[[], str] = lambda: "",
) -> float:
    """Wait for a condition; return when it held, in seconds since 1970; fail with `why` if not."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        ended = alive is not None and alive.poll() is not None
        if (ended and not is_so()) or time.monotonic() > deadline:
            what = "its process has ended" if ended else f"not so after {timeout_s:g} s"
            raise AssertionError(f"{what}: {why()}")
        time.sleep(0.2)
    return time.time()
