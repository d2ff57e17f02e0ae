"""A real Slurm on this machine: a controller and its nodes, each in namespaces of its own.

    with SlurmLab(folder) as lab:
        job = lab.submit("--nodes=3", "script.sbatch", "argument")

Needs root, Linux and Debian's slurmctld, slurmd, slurm-client and munge. Everything is ended by
process id and namespace; nothing of the machine's own Slurm is touched.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "srun", "munged", "ip", "unshare")
_SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
_SLURM_CONF = """\
ClusterName=lab
SlurmctldHost=controller({subnet}.254)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n/slurmd.pid
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
JobRequeue=1
SlurmdTimeout={silence_s}
SchedulerParameters=sched_interval=1,sched_min_interval=0,defer_batch=no
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=node[1-{n_nodes}] NodeAddr={subnet}.[1-{n_nodes}] CPUs=2 RealMemory=1000 Gres=gpu:{n_gpus}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Return why no Slurm can be started here; None if one can."""
    if os.uname().sysname != "Linux" or os.geteuid() != 0:
        return "needs Linux and root, to make network namespaces"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_SYSTEM) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    probe = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True)
    return None if probe.returncode == 0 else "namespaces are not allowed here"


class SlurmLab:
    """A controller and `n_nodes` nodes; started by entering it, ended by leaving it."""

    def __init__(
        self, folder: Path, *, n_nodes: int = 3, gpus_per_node: int = 2, silence_s: int = 300
    ) -> None:
        self.folder = folder
        self._silence_s = silence_s  # until Slurm calls a node lost
        self.names = [f"node{i + 1}" for i in range(n_nodes)]
        self._tag = f"dx{os.getpid() % 100000}"
        self._subnet = f"10.78.{os.getpid() % 250}"
        self._gpus = [folder / f"gpu{i}" for i in range(gpus_per_node)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._hosts: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            self._write_files()
            self._make_network()
            self._start_daemons()
            wait_until(lambda: self._n_idle() == len(self.names), 30, "the nodes are idle")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """Run one of Slurm's commands and return what it said; fails as it does."""
        done = self._ask(*command, environment=environment)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")
        return done.stdout

    def _ask(
        self, *command: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._inside("c"), *command], capture_output=True, text=True, timeout=60,
            env={**(environment or {}), "PATH": _SYSTEM, "SLURM_CONF": str(self._conf)},
        )  # fmt: skip

    def submit(self, *arguments: str, environment: Mapping[str, str]) -> int:
        """Submit a batch script and return the number of its job."""
        told = self.run("sbatch", "--parsable", *arguments, environment=environment)
        return int(told.split(";")[0])

    def lose(self, name: str) -> None:
        """End a node with everything on it, at once, as a power cut does."""
        self._hosts[name].kill()
        self._hosts[name].wait()

    def kill(self, name: str, program: str) -> int:
        """Send SIGKILL to every process of a program on a node; return how many there were."""
        told = subprocess.run(
            ["ip", "netns", "pids", f"{self._tag}{self.names.index(name) + 1}"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        found = [pid for pid in map(int, told.split()) if _program_of(pid) == program]
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return len(found)

    def state_of(self, name: str) -> str:
        """Return what Slurm thinks of a node, such as `idle` or `down*`."""
        return self.run("sinfo", "--noheader", f"--nodes={name}", "--format=%T").strip()

    def facts(self, job: int) -> dict[str, str]:
        """Return what Slurm knows of a job, such as JobState, ExitCode and Restarts."""
        told = self.run("scontrol", "--oneliner", "show", "job", str(job))
        return dict(item.split("=", 1) for item in told.split() if "=" in item)

    @property
    def _conf(self) -> Path:
        return self.folder / "slurm.conf"

    def _inside(self, host: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self._tag}{host}"]

    def _n_idle(self) -> int:
        told = self._ask("sinfo", "--noheader", "--Node", "--format=%T")
        return told.stdout.split().count("idle")

    def _write_files(self) -> None:
        for name in ("state", *self.names):
            (self.folder / name).mkdir(parents=True)
        n_nodes, n_gpus = len(self.names), len(self._gpus)
        self._conf.write_text(
            _SLURM_CONF.format(
                folder=self.folder,
                subnet=self._subnet,
                n_nodes=n_nodes,
                n_gpus=n_gpus,
                silence_s=self._silence_s,
            )
        )
        for gpu in self._gpus:
            _do("mknod", str(gpu), "c", "1", "3")
        lines = [f"Name=gpu File={gpu}\n" for gpu in self._gpus]
        (self.folder / "gres.conf").write_text("".join(lines))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        hosts = [f"{self._subnet}.{i + 1} {name}\n" for i, name in enumerate(self.names)]
        (self.folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(hosts))
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o400)

    def _make_network(self) -> None:
        bridge = f"{self._tag}b"
        _do("ip", "link", "add", bridge, "type", "bridge")
        _do("ip", "link", "set", bridge, "up")
        hosts = {"c": 254} | {str(i + 1): i + 1 for i in range(len(self.names))}
        for host, number in hosts.items():
            space, outer = f"{self._tag}{host}", f"{self._tag}v{host}"
            _do("ip", "netns", "add", space)
            _do("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            _do("ip", "link", "set", outer, "master", bridge, "up")
            _do("ip", "-n", space, "addr", "add", f"{self._subnet}.{number}/24", "dev", "eth0")
            _do("ip", "-n", space, "link", "set", "eth0", "up")
            _do("ip", "-n", space, "link", "set", "lo", "up")

    def _start_daemons(self) -> None:
        at = self.folder
        self._start(
            "munged", "--foreground", "--force", f"--socket={at}/munge.socket",
            f"--key-file={at}/munge.key", f"--pid-file={at}/munge.pid",
            f"--log-file={at}/munge.log", f"--seed-file={at}/munge.seed",
        )  # fmt: skip
        wait_until((at / "munge.socket").exists, 10, "munge answers")
        self._start_host("c", "controller", f"slurmctld -D -f {self._conf}")
        for i, name in enumerate(self.names):
            self._start_host(str(i + 1), name, f"slurmd -D -N {name} -f {self._conf}")

    def _start_host(self, host: str, name: str, daemon: str) -> None:
        setup = f"mount --bind {self.folder}/hosts /etc/hosts && hostname {name} && exec {daemon}"
        self._hosts[name] = self._start(
            *self._inside(host), "unshare", "--pid", "--fork", "--mount", "--uts",
            "--kill-child", "--mount-proc", "bash", "-c", setup,
        )  # fmt: skip

    def _start(self, *command: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            command, env={"PATH": _SYSTEM, "SLURM_CONF": str(self._conf)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._processes.append(process)
        return process

    def _end(self) -> None:
        for process in reversed(self._processes):  # a node's first process takes the rest along
            process.kill()
            process.wait()
        for host in ["c", *(str(i + 1) for i in range(len(self.names)))]:
            subprocess.run(["ip", "netns", "del", f"{self._tag}{host}"], capture_output=True)
        subprocess.run(["ip", "link", "del", f"{self._tag}b"], capture_output=True)


def wait_until(is_true: Callable[[], bool], patience_s: float, what: str) -> None:
    """Return when a condition holds.

    Raises:
        TimeoutError: if it does not within `patience_s`.
    """
    give_up = time.monotonic() + patience_s
    while not is_true():
        if time.monotonic() > give_up:
            raise TimeoutError(f"not within {patience_s:.0f} s: {what}")
        time.sleep(0.2)


def _program_of(pid: int) -> str | None:
    """Return the name that the kernel knows a process by; None if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
