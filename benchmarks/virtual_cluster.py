"""Several Ray nodes on this machine with logical GPUs, joined by address as a real cluster is."""

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dexsearch.search.cluster import prepare_environment

_OBJECT_STORE_BYTES = 80_000_000


@dataclass(frozen=True)
class VirtualCluster:
    """Nodes that run; `scratch` is in the command line of each of their processes."""

    address: str
    scratch: str

    def cpu_s(self) -> dict[str, float]:
        """Return processor seconds of the cluster's living processes, by kind."""
        found: Counter[str] = Counter()
        ticks = os.sysconf("SC_CLK_TCK")
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environment = (folder / "environ").read_bytes()
                used = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
            except (OSError, UnicodeDecodeError):
                continue
            kind = _kind(command)
            if kind is not None and self._is_ours(command, environment):
                found[kind] += sum(map(int, used)) / ticks
        return dict(found)

    def _is_ours(self, command: str, environment: bytes) -> bool:
        return self.scratch in command or self.address.encode() in environment


def _kind(command: str) -> str | None:
    if "gcs_server" in command.split(" ")[0]:
        return "GCS"
    if "raylet/raylet" in command.split(" ")[0]:
        return "raylets"
    return "actors" if command.startswith("ray::") or "default_worker.py" in command else None


@contextlib.contextmanager
def virtual_cluster(nodes: int, gpus: int) -> Iterator[VirtualCluster]:
    """Start a head without GPUs, and nodes with as many processors as logical GPUs.

    With a token, as ours always are; drivers find it in the environment that they inherit.
    """
    prepare_environment(None)
    with tempfile.TemporaryDirectory(prefix="scale-", dir="/tmp") as scratch:
        # A plain `ray.init()` elsewhere on this machine must not find this cluster.
        os.environ["RAY_TMPDIR"] = scratch
        folder = Path(scratch, "ray")
        folder.mkdir()
        from ray.cluster_utils import Cluster

        shared = {"object_store_memory": _OBJECT_STORE_BYTES, "temp_dir": str(folder)}
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, **shared},
        )
        try:
            for _ in range(nodes):
                cluster.add_node(num_cpus=gpus, num_gpus=gpus, **shared)
            yield VirtualCluster(cluster.address, scratch)
        finally:
            cluster.shutdown()
