"""Lose an actor that holds all of a node: `drive_spare.py ADDRESS`; JSON of who came after it.

A program of its own, because a test process joins no cluster.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from dexsearch.search.cluster import prepare_environment

KEPT_S = 3.0
"""Ray ends a process that waits after one second, unless it was asked to keep it."""


def idle(raylet: int) -> set[int]:
    """Return the children of a raylet that wait for work and have imported torch."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            maps = (entry / "maps").read_text() if parent == raylet else ""
        except OSError:
            continue
        if title.startswith(b"ray::IDLE") and "libtorch" in maps:
            found.add(int(entry.name))
    return found


def wait_for_kept(raylet: int) -> int:
    """Return the process that is kept for later."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        before = idle(raylet)
        time.sleep(KEPT_S)
        if kept := before & idle(raylet):
            (process,) = kept
            return process
    raise AssertionError("no process waits")


def lose_one(address: str) -> dict[str, Any]:
    import ray

    from dexsearch.search.ray_cluster import ray_cluster
    from dexsearch.search.spare_processes import SETTLE_S, spare_processes

    class Holder:
        def __init__(self) -> None:
            self.had_torch = "torch" in sys.modules

        def who(self) -> tuple[int, int, bool]:
            return os.getpid(), os.getppid(), self.had_torch

    with ray_cluster(address):
        now = [1000.0]
        (spares,) = spare_processes(ray.nodes, lambda resources: resources.get("CPU", 0) >= 1)
        spares._clock = lambda: now[0]
        variables = {"env_vars": {"OF_TUNE": "1"}}  # it gives actors some of its own
        actors = ray.remote(num_cpus=1, runtime_env=variables)(Holder)
        spares.on_step_begin(0, [])
        holder = actors.remote()
        first, raylet, _ = ray.get(holder.who.remote())
        now[0] += SETTLE_S
        spares.on_step_begin(1, [])
        spare = wait_for_kept(raylet)
        ray.kill(holder)
        second, _, had_torch = ray.get(actors.remote().who.remote())
    return {"lost": first, "spare": spare, "next": second, "had_torch": had_torch}


if __name__ == "__main__":
    prepare_environment(sys.argv[1])
    sys.stdout.write(json.dumps(lose_one(sys.argv[1])))
