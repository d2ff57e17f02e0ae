"""Run one search on a Ray cluster of several nodes that come and go: `drive_cluster.py REQUEST`.

The request is a JSON file, see `clusters.ClusterSearch`. A program of its own, so that it can be
killed with all its nodes, and so that no other test has imported Ray. It prints what a test wants
to know.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsearch.config.space import SearchSpace
from dexsearch.errors import DexSearchError
from dexsearch.search.cluster import prepare_environment
from dexsearch.search.continuation import StudyRequest
from dexsearch.search.progress import SilentProgress
from dexsearch.search.site import Site
from dexsearch.search.study import run_study

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

_STORE_BYTES = 80_000_000
_SHORT_CHECKS = {
    "health_check_period_ms": 500, "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3, "health_check_initial_delay_ms": 0,
}  # fmt: skip


class Nodes:
    """The nodes of a cluster by name; the head runs the driver and takes no trial."""

    def __init__(self, cluster: "Cluster", kinds: dict[str, dict[str, Any]]) -> None:
        self._cluster, self._kinds = cluster, kinds
        self._running: dict[str, Any] = {}

    def add(self, name: str) -> None:
        kind = dict(self._kinds[name])
        environment = {**kind.pop("env_vars", {}), "DEXSEARCH_TEST_NODE": name}
        self._running[name] = self._cluster.add_node(
            object_store_memory=_STORE_BYTES, env_vars=environment, **kind
        )

    def remove(self, name: str) -> None:
        self._cluster.remove_node(self._running.pop(name), allow_graceful=False)


class ActingProgress(SilentProgress):
    """Counts the epochs of a search and adds or removes a node when that is due."""

    def __init__(self, nodes: Nodes, then: list[tuple[int, str, str]]) -> None:
        self.messages: list[str] = []
        self._nodes, self._then = nodes, list(then)
        self._epochs = 0

    def epoch_done(self, number: int, epoch: int, value: float) -> None:
        self._epochs += 1
        while self._then and self._epochs >= self._then[0][0]:
            _, act, name = self._then.pop(0)
            (self._nodes.add if act == "add" else self._nodes.remove)(name)

    def message(self, text: str) -> None:
        self.messages.append(text)


@contextmanager
def cluster_of(kinds: dict[str, dict[str, Any]], begin: list[str]) -> Iterator[tuple[str, Nodes]]:
    """Start a head and the nodes that are there from the beginning; end all of them."""
    import ray
    from ray.cluster_utils import Cluster

    from dexsearch.search.ray_cluster import scratch_folder, silence_ray

    silence_ray()
    head = {"num_cpus": 0, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    head |= {"_system_config": _SHORT_CHECKS, "temp_dir": scratch_folder()}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = Nodes(cluster, kinds)
        for name in begin:
            nodes.add(name)
        yield cluster.address, nodes
    finally:
        ray.shutdown()
        cluster.shutdown()


def searched(asked: dict[str, Any], address: str, nodes: Nodes) -> dict[str, Any]:
    """Run the search; return what is to be printed."""
    from scenarios import BACKENDS

    space, folder = SearchSpace.model_validate(asked["space"]), Path(asked["folder"])
    site = Site(address=address, ship_code=asked["ship_code"])
    progress = ActingProgress(nodes, asked["then"])
    request = StudyRequest(
        folder.name, space, Path(asked["dataset"]), asked["digest"], (32, 32), metric=1
    )
    answer: dict[str, Any] = {"exit_code": 0}
    try:
        run_study(
            space, study=folder.name, folder=folder, dataset=request.dataset,
            dataset_digest=request.dataset_digest, size_px=request.size_px, progress=progress,
            site=site, backend=BACKENDS[asked["scenario"]](request, folder, site),
        )  # fmt: skip
    except DexSearchError as error:
        answer = {"exit_code": error.exit_code, "error": str(error)}
    return {**answer, "messages": progress.messages}


def import_without_shipping(address: str) -> str:
    """Return what becomes of importing dexsearch on a node to which it was not shipped."""
    import ray

    def imported() -> str:
        try:
            import dexsearch
        except ImportError as error:
            return f"ImportError: {error}"
        return f"found {dexsearch.__file__}"

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        return str(ray.get(ray.remote(imported).remote()))
    finally:
        ray.shutdown()


def main(request_path: str) -> None:
    asked = json.loads(Path(request_path).read_text())
    prepare_environment("a cluster")
    with cluster_of(asked["nodes"], asked["begin"]) as (address, nodes):
        answer = searched(asked, address, nodes)
        if asked["ship_code"]:
            answer["without"] = import_without_shipping(address)
    sys.stdout.write("\n" + json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
