"""Trials on Ray; import it after `cluster.prepare_environment`."""

import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray._private import worker as ray_worker
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dexsearch.config.space import ResourcesConfig
from dexsearch.errors import EnvironmentFault
from dexsearch.search.actor import TrialActor
from dexsearch.search.bridge import (
    Bridge,
    SearchCallback,
    StudyScheduler,
    StudySearcher,
    assignment_of,
)
from dexsearch.search.cluster import refuse_bad_address
from dexsearch.search.driver import StudyDriver
from dexsearch.search.packing import trials_per_gpu
from dexsearch.search.sharing import GpuSharing
from dexsearch.search.trial import TrialFunction

MAX_LOSSES = 3
"""How often a trial is started again after its process was lost."""

_SCRATCH_PREFIX = "dexray-"
_MAX_SOCKET_PATH = 107 if sys.platform == "linux" else 103  # bytes
_BELOW_SCRATCH = len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.1")
_OBJECT_STORE_BYTES = 100_000_000  # trials exchange a few hundred bytes per epoch


@dataclass(frozen=True, slots=True)
class RayBackend:
    """Runs as many trials at once as the cluster has room for."""

    function: TrialFunction
    resources: ResourcesConfig
    scratch: Path
    """Tune's own folder: emptied first, removed at the end, never read."""
    address: str | None = None
    need_bytes: int | None = None
    """What the largest configuration needs of a GPU; None: a GPU takes one trial."""

    def run(self, driver: StudyDriver) -> None:
        """Run trials until the driver has no more."""
        with ray_cluster(self.address):
            self.run_on(driver)

    def run_on(self, driver: StudyDriver) -> None:
        """Run trials on the cluster that this process has joined."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        bridge = Bridge(driver, self.function)
        driver.is_backend_dead = is_local_cluster_dead
        try:
            self._tuner(bridge, driver).fit()
        finally:
            driver.is_backend_dead = lambda: False  # from here on Ray is meant to end
            shutil.rmtree(self.scratch, ignore_errors=True)
        bridge.raise_fault()

    def _tuner(self, bridge: Bridge, driver: StudyDriver) -> tune.Tuner:
        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        n_trials = driver.n_left
        gpus = self._gpus_per_trial(total, n_trials)
        request = {"cpu": float(self.resources.cpus), "gpu": gpus}
        if 0 < gpus <= 1:
            driver.sharing = GpuSharing(int(total.get("GPU", 0)), int(1 / gpus + 1e-9))
        return tune.Tuner(
            tune.with_resources(TrialActor, request),
            tune_config=tune.TuneConfig(
                search_alg=StudySearcher(bridge),
                scheduler=StudyScheduler(bridge),
                num_samples=-1,
                max_concurrent_trials=n_concurrent(
                    n_slots(total, request), n_trials, is_local=self.address is None
                ),
                reuse_actors=True,
                trial_dirname_creator=lambda trial: f"trial-{assignment_of(trial).number}",
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(self.scratch.resolve()),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=MAX_LOSSES),
                callbacks=[SearchCallback(bridge)],
                verbose=0,
            ),
        )

    def _gpus_per_trial(self, total: dict[str, float], n_trials: int) -> float:
        """Return the part of a GPU, or the GPUs, that a trial asks for."""
        if self.resources.gpus != "auto":
            return float(self.resources.gpus)
        n_gpus = int(total.get("GPU", 0.0))
        if n_gpus < 1:
            return 0.0
        memory = self._gpu_memory_bytes()
        if self.need_bytes is None or memory is None:
            return 1.0
        return 1.0 / trials_per_gpu(
            self.need_bytes,
            memory,
            cpus_per_gpu=total.get("CPU", 0.0) / n_gpus,
            cpus_per_trial=self.resources.cpus,
            n_trials=n_trials,
        )

    def _gpu_memory_bytes(self) -> int | None:
        """Return the memory of the smallest GPU; None where no node can tell."""
        if self.resources.gpu_memory_gib != "auto":
            return int(self.resources.gpu_memory_gib * 2**30)
        return smallest_gpu_bytes()


def smallest_gpu_bytes() -> int | None:
    """Ask a GPU of every node for its memory; None where no GPU answers to torch."""
    nodes = [node for node in _nodes() if node["Alive"] and node["Resources"].get("GPU")]
    ask = ray.remote(num_cpus=0, num_gpus=0.01, max_calls=1)(_gpu_bytes)
    answers = ray.get(
        [
            ask.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote()
            for node in nodes
        ]
    )
    known = [answer for answer in answers if answer is not None]
    return min(known, default=None)


def _gpu_bytes() -> int | None:
    """Return the total memory of the GPU that this task was given."""
    import torch  # noqa: PLC0415  (in the worker; the driver of a cluster may have no GPU)

    return int(torch.cuda.mem_get_info()[1]) if torch.cuda.is_available() else None


def n_slots(total: dict[str, float], request: dict[str, float]) -> int:
    """Return how many trials fit into a cluster at once.

    Raises:
        EnvironmentFault: if not even one does.
    """
    slots = min(
        int(total.get(name.upper(), 0.0) / amount) for name, amount in request.items() if amount
    )
    if slots < 1:
        asked = ", ".join(f"{amount:g} {name}" for name, amount in request.items() if amount)
        there = ", ".join(f"{total.get(name.upper(), 0.0):g} {name}" for name in request)
        raise EnvironmentFault(
            f"a trial needs {asked}, and the cluster has {there}",
            hint="lower resources.cpus or resources.gpus in the search space",
        )
    return slots


def n_concurrent(slots: int, n_trials: int, *, is_local: bool) -> int:
    """Return how many trials run at once: on this machine a third of them, but at least two.

    With all at once the sampler would see no result before its last proposal, the pruner would
    have nothing to compare with, and each process takes some hundred megabytes. Whoever joins a
    cluster has chosen its size, so there every slot is used.
    """
    wanted = max(2, n_trials // 3) if is_local else n_trials
    return max(1, min(slots, wanted, n_trials))


@contextlib.contextmanager
def ray_cluster(address: str | None) -> Iterator[None]:
    """Join the cluster at `address`, or start one on this machine; leave it, or stop it."""
    silence_ray()
    scratch = scratch_folder() if address is None else None
    try:
        if scratch is not None:
            _start(scratch)
        elif address is not None:
            refuse_bad_address(address)
            _join(address)
        yield
    finally:
        ray.shutdown()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def silence_ray() -> None:
    """Keep Ray's own lines off standard output and standard error; trials tell what matters.

    Messages of the raylet about lost workers are printed to standard output whatever `ray.init`
    was told, unless this private switch of Ray's debugger is off.
    """
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ray_worker._worker_logs_enabled = False


def is_local_cluster_dead() -> bool:
    """Tell whether a process of the cluster that we started has ended; False after joining one."""
    node = ray_worker._global_node
    return node is not None and node.is_head() and bool(node.dead_processes())


def scratch_folder() -> str:
    """Make a folder for Ray's files, and remove those of processes that were killed.

    One of its own, so that nothing is left; short, because sockets lie in it.
    """
    parent = _scratch_parent(tempfile.gettempdir())
    for folder in Path(parent).glob(f"{_SCRATCH_PREFIX}*-*"):
        pid = folder.name.removeprefix(_SCRATCH_PREFIX).partition("-")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{_SCRATCH_PREFIX}{os.getpid()}-", dir=parent)


def _scratch_parent(wanted: str) -> str:
    """Return the folder for scratch folders: `/tmp` where sockets below `wanted` are too long."""
    own = len(f"/{_SCRATCH_PREFIX}{os.getpid()}-12345678")
    fits = len(os.fsencode(wanted)) + own + _BELOW_SCRATCH <= _MAX_SOCKET_PATH
    return wanted if fits else "/tmp"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start(scratch: str) -> None:
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=scratch,
        )
    except (RuntimeError, OSError, TimeoutError) as error:
        raise EnvironmentFault(f"Ray does not start on this machine: {error}") from error


def _join(address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        raise EnvironmentFault(
            f"cannot join the Ray cluster at {address}: {error}",
            hint="with a token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH",
        ) from error


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes
