"""Trials on Ray; import it after `cluster.prepare_environment`."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dexsearch.config.space import ResourcesConfig
from dexsearch.search.actor import TrialActor
from dexsearch.search.bridge import (
    Bridge,
    SearchCallback,
    StudyScheduler,
    StudySearcher,
    assignment_of,
)
from dexsearch.search.capacity import Capacity
from dexsearch.search.driver import StudyDriver
from dexsearch.search.head_watch import HeadWatch, Health, health_of_head
from dexsearch.search.packing import gpus_per_trial, n_concurrent, n_slots
from dexsearch.search.preflight import PreflightRequest, preflight
from dexsearch.search.ray_cluster import is_local_cluster_dead, ray_cluster
from dexsearch.search.sharing import GpuSharing
from dexsearch.search.trial import TrialFunction

_COUNT_PREEMPTIONS = "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE"


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
    ship_code: bool = False
    """Whether the workers of a cluster import the dexsearch of this process."""
    prepare: Callable[[TrialFunction], TrialFunction] = lambda function: function
    """Called with `function` after joining the cluster; what it returns is run."""
    preflight: PreflightRequest | None = None
    """What the nodes are asked before the first trial."""

    def run(self, driver: StudyDriver) -> None:
        """Run trials until the driver has no more."""
        with ray_cluster(self.address, ship_code=self.ship_code, tell=driver.tell):
            if self._nodes_are_fit(driver):
                self.run_on(driver)

    def _nodes_are_fit(self, driver: StudyDriver) -> bool:
        """Look at the nodes that trials may run on; False if the user stopped that."""
        driver.on_backend_ready()
        if self.preflight is None:
            return not driver.stop_requested

        def is_stopped() -> bool:
            driver.tick()
            return driver.stop_requested

        preflight(self.preflight, driver.tell, is_stopped=is_stopped)
        return not driver.stop_requested

    def run_on(self, driver: StudyDriver) -> None:
        """Run trials on the cluster that this process has joined."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        bridge = Bridge(driver, self.prepare(self.function))
        os.environ[_COUNT_PREEMPTIONS] = "1"  # else Tune itself would begin such trials again
        try:
            with _head_watch(driver, is_local=self.address is None):
                self._tuner(bridge, driver).fit()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)
        bridge.raise_fault()

    def _tuner(self, bridge: Bridge, driver: StudyDriver) -> tune.Tuner:
        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        n_trials = driver.n_left
        gpus = self._gpus_per_trial(total, n_trials)
        request = {"cpu": float(self.resources.cpus), "gpu": gpus}
        if 0 < gpus <= 1:
            driver.share_gpus(GpuSharing(int(total.get("GPU", 0)), int(1 / gpus + 1e-9)))
        slots = n_slots(total, request)
        is_local = self.address is None
        if not is_local:  # nodes may join and leave
            driver.running.room = Capacity(
                living_resources, cpus=request["cpu"], gpus=gpus, tell=driver.tell
            )
        return tune.Tuner(
            tune.with_resources(TrialActor, request),
            tune_config=tune.TuneConfig(
                search_alg=StudySearcher(bridge),
                scheduler=StudyScheduler(bridge),
                num_samples=-1,
                max_concurrent_trials=n_concurrent(slots, n_trials) if is_local else n_trials,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: f"trial-{assignment_of(trial).number}",
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(self.scratch.resolve()),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[SearchCallback(bridge)],
                verbose=0,
            ),
        )

    def _gpus_per_trial(self, total: dict[str, float], n_trials: int) -> float:
        """Return the part of a GPU, or the GPUs, that a trial asks for."""
        shares = self.resources.gpus == "auto" and total.get("GPU", 0.0) >= 1
        return gpus_per_trial(
            self.resources,
            total,
            need_bytes=self.need_bytes,
            memory_bytes=smallest_gpu_bytes() if shares and self._asks_for_memory else None,
            n_trials=n_trials,
        )

    @property
    def _asks_for_memory(self) -> bool:
        return self.need_bytes is not None and self.resources.gpu_memory_gib == "auto"


def _head_watch(driver: StudyDriver, *, is_local: bool) -> HeadWatch:
    """Return what ends this process if the Ray that it is connected to ends."""
    context = ray.get_runtime_context()
    head, own = str(context.gcs_address), context.get_node_id()

    def look() -> Health:
        if is_local_cluster_dead():
            return "gone"
        health = health_of_head(head)
        if health == "well" and own not in {node["NodeID"] for node in _living_nodes()}:
            return "cut off"
        return health

    return HeadWatch(
        look,
        what="Ray on this machine" if is_local else f"the head of Ray at {head}",
        exit_code=driver.exit_code,
        farewell=driver.farewell,
    )


def smallest_gpu_bytes() -> int | None:
    """Ask a GPU of every node for its memory; None where no GPU answers to torch."""
    nodes = [node for node in _living_nodes() if node["Resources"].get("GPU")]
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


def living_resources() -> list[dict[str, float]]:
    """Return what each node that lives has for trials."""
    return [node["Resources"] for node in _living_nodes()]


def _living_nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]
