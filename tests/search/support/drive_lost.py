"""Ask after processes of a joined cluster: `drive_lost.py ADDRESS`; JSON of what is known.

A program of its own, because a test process joins no cluster.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from dexsearch.search.cluster import prepare_environment


def has_torch(number: int) -> bool:
    return "torch" in sys.modules


def ask_after(address: str) -> dict[str, Any]:
    import ray
    from ray.exceptions import RayError

    from dexsearch.search.data_tasks import map_on_ray
    from dexsearch.search.lost_actors import node_of_lost
    from dexsearch.search.ray_cluster import ray_cluster
    from dexsearch.search.reaper import task_environment

    class CannotBegin:
        def __init__(self) -> None:
            raise ImportError("libcublas.so.12")

    class Ends:
        def __init__(self) -> None:
            os._exit(1)

    errors = Path(tempfile.mkdtemp()) / "error.txt"

    def node_of(kind: type) -> str | None:
        actor = ray.remote(num_cpus=1)(kind).remote()
        try:
            ray.get(actor.__ray_ready__.remote())
        except RayError as error:
            errors.write_text(f"Failure # 1 (occurred at noon)\n{error}\n")
        return node_of_lost(cast("Any", SimpleNamespace(error_file=str(errors))))

    told: dict[str, Any] = {}
    with ray_cluster(address):
        told["workers"] = [node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU")]
        told["lost"] = [node_of(CannotBegin), node_of(Ends)]
        look = ray.remote(num_cpus=0)(has_torch)
        told["usual"] = ray.get(look.remote(0))
        told["reaper"] = ray.get(look.options(**task_environment()).remote(0))
    told["data"] = list(map_on_ray(has_torch, [0], address=address))
    return told


if __name__ == "__main__":
    prepare_environment(sys.argv[1])
    sys.stdout.write(json.dumps(ask_after(sys.argv[1])) + "\n")
