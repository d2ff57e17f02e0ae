"""Trials on Ray; import it after `cluster.prepare_environment`."""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune

from dexsearch.config.space import ResourcesConfig
from dexsearch.search.actor import TrialActor
from dexsearch.search.bridge import Bridge, assignment_of
from dexsearch.search.capacity import Capacity, slots_of_node
from dexsearch.search.data_source import FolderSource
from dexsearch.search.driver import StudyDriver
from dexsearch.search.head_watch import HeadWatch, Health, health_of_head
from dexsearch.search.newcomers import Newcomers
from dexsearch.search.node_demand import demand_of, has_autoscaler
from dexsearch.search.node_verdicts import asking
from dexsearch.search.packing import gpus_per_trial, n_concurrent, n_slots
from dexsearch.search.preflight import FitNodes, PreflightRequest, preflight
from dexsearch.search.preflight_node import smallest_gpu_bytes
from dexsearch.search.preflight_report import NodeReport
from dexsearch.search.preflight_room import Node
from dexsearch.search.ray_cluster import is_local_cluster_dead, ray_cluster
from dexsearch.search.room_watch import RoomWatch, no_room_line, waiting_for_others
from dexsearch.search.sharing import GpuSharing
from dexsearch.search.spare_processes import spare_processes
from dexsearch.search.trial import TrialFunction
from dexsearch.search.tune_hooks import SearchCallback, StudyScheduler, StudySearcher

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
        with (
            ray_cluster(self.address, ship_code=self.ship_code, tell=driver.tell),
            _head_watch(driver, is_local=self.address is None),
        ):
            fit = self._fit_nodes(driver)
            if not driver.stop_requested:
                self.run_on(driver, fit)

    def _fit_nodes(self, driver: StudyDriver) -> FitNodes:
        """Look at the nodes that trials may run on; the user may stop that."""
        driver.on_backend_ready()
        if self.preflight is None:
            return FitNodes()

        def is_stopped() -> bool:
            driver.tick()
            return driver.stop_requested

        return preflight(self.preflight, driver.tell, is_stopped=is_stopped)

    def run_on(self, driver: StudyDriver, fit: FitNodes | None = None) -> None:
        """Run trials on the cluster that this process has joined.

        Args:
            driver: of the search.
            fit: the nodes of a cluster that have passed the preflight: their GPUs' memory counts,
                and other nodes are asked before they get a trial. Without any, all get.
        """
        fit = fit or FitNodes()
        shutil.rmtree(self.scratch, ignore_errors=True)
        function = self.prepare(self.function)
        is_far = self.address is not None
        driver.checkpoints.is_promised = is_far and getattr(function, "keeps_checkpoints", False)
        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = self._gpus_per_trial(total, driver.n_left, fit.reports)
        newcomers = self._newcomers(driver, function, fit, gpus)
        if newcomers is not None:
            driver.running.refuse_node = newcomers.refuse
        bridge = Bridge(driver, function, newcomers=newcomers)
        os.environ[_COUNT_PREEMPTIONS] = "1"  # else Tune itself would begin such trials again
        try:
            with newcomers or nullcontext():
                self._tuner(bridge, driver, total, gpus, newcomers).fit()
        finally:
            shutil.rmtree(self.scratch, ignore_errors=True)
        bridge.raise_fault()

    def _newcomers(
        self, driver: StudyDriver, function: TrialFunction, fit: FitNodes, gpus: float
    ) -> Newcomers | None:
        """Return what keeps trials off nodes that were not asked; None if none was."""
        if self.preflight is None or not fit.reports:
            return None
        # What is not a folder any more is sent to the nodes.
        needs_dataset = isinstance(getattr(function, "source", None), FolderSource)

        def has_room(node: Node) -> bool:
            return node.has_room(self.resources.cpus, gpus)

        return Newcomers(
            [report.node_id for report in fit.reports],
            asking(self.preflight, needs_dataset=needs_dataset),
            has_room=has_room,
            tell=driver.tell,
            patience_s=self.preflight.patience_s,
            refused=fit.refused,
            may_grow=has_autoscaler,
        )

    def _tuner(
        self, bridge: Bridge, driver: StudyDriver, total: dict[str, float], gpus: float,
        newcomers: Newcomers | None,
    ) -> tune.Tuner:  # fmt: skip
        n_trials = driver.n_left
        request = {"cpu": float(self.resources.cpus), "gpu": gpus}
        if 0 < gpus <= 1:
            driver.share_gpus(GpuSharing(int(total.get("GPU", 0)), int(1 / gpus + 1e-9)))
        slots = n_slots(total, request)
        is_local = self.address is None
        callbacks: list[tune.Callback] = [SearchCallback(bridge)]
        if not is_local:
            is_fit = _any_node if newcomers is None else newcomers.is_fit
            callbacks += self._room_watches(driver, request, newcomers)
            callbacks += spare_processes(
                lambda: (node for node in _living_nodes() if is_fit(node["NodeID"])),
                lambda there: slots_of_node(there, cpus=request["cpu"], gpus=gpus) > 0,
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
                callbacks=callbacks,
                verbose=0,
            ),
        )

    def _room_watches(
        self, driver: StudyDriver, request: dict[str, float], newcomers: Newcomers | None
    ) -> list[tune.Callback]:
        """Let room be counted anew again and again: others have a part, and nodes come and go."""
        cpus, gpus = request["cpu"], request["gpu"]
        room = driver.running.room = Capacity(
            living_resources if newcomers is None else partial(living_resources, newcomers.is_fit),
            cpus=cpus,
            gpus=gpus,
            tell=driver.tell,
        )
        refused = tuple if newcomers is None else newcomers.refused
        demand = demand_of(driver, cpus=cpus, gpus=gpus, refused=refused)

        def note() -> str:
            return "" if newcomers is None else newcomers.note

        def waiting() -> str | None:
            line = waiting_for_others(cpus=cpus, gpus=gpus)
            return line if line is None else line + note()

        def no_room() -> str | None:
            if driver.stop_requested or room(driver.running.sharing):
                return None
            return no_room_line(cpus=cpus, gpus=gpus, is_asked=demand.is_made) + note()

        return [RoomWatch(driver.tell, waiting, no_room=no_room), demand]

    def _gpus_per_trial(
        self, total: dict[str, float], n_trials: int, reports: Sequence[NodeReport]
    ) -> float:
        """Return the part of a GPU, or the GPUs, that a trial asks for."""
        shares = self.resources.gpus == "auto" and total.get("GPU", 0.0) >= 1
        return gpus_per_trial(
            self.resources,
            total,
            need_bytes=self.need_bytes,
            memory_bytes=self._memory_bytes(reports) if shares else None,
            n_trials=n_trials,
        )

    def _memory_bytes(self, reports: Sequence[NodeReport]) -> int | None:
        """Return the memory of the smallest GPU that is known; None if none is, or matters."""
        if self.need_bytes is None or self.resources.gpu_memory_gib != "auto":
            return None
        if self.address is None:
            return smallest_gpu_bytes()
        known = [report.gpu_bytes for report in reports if report.gpu_bytes is not None]
        return min(known, default=None)


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


def _any_node(node_id: str) -> bool:
    return True


def living_resources(is_fit: Callable[[str], bool] = _any_node) -> list[dict[str, float]]:
    """Return what each node has for trials that lives and may take some."""
    return [node["Resources"] for node in _living_nodes() if is_fit(node["NodeID"])]


def _living_nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]
