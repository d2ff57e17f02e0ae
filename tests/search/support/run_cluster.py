"""A Ray cluster of several nodes on this machine, in a process of its own: `run_cluster.py N`.

Its head runs no trials, and each of the N nodes one. Prints the address, then `done` after each
line that it reads: `lose I` ends node I as a power cut would, `lose head` the head's own process,
`stop I` and `go I` stop node I and let it go on, as a partition does.
"""

import os
import signal
import sys
from pathlib import Path

from ray._private.node import Node
from ray.cluster_utils import Cluster

HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
SIZE = {"object_store_memory": 100_000_000, "include_dashboard": False}


def main(n_nodes: int) -> None:
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": HEALTH, **SIZE}
    )
    nodes = [cluster.add_node(num_cpus=1, **SIZE) for _ in range(n_nodes)]
    cluster.wait_for_nodes()
    say(cluster.address)
    for line in sys.stdin:
        act, what = line.split()
        if what == "head":
            cluster.head_node.kill_gcs_server(check_alive=False)
        elif act == "lose":
            cluster.remove_node(nodes[int(what)], allow_graceful=False)
        else:
            number = signal.SIGSTOP if act == "stop" else signal.SIGCONT
            for pid in processes_of(nodes[int(what)]):
                os.kill(pid, number)
        say("done")
    cluster.shutdown()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def processes_of(node: Node) -> list[int]:
    """Return the raylet of a node and the workers that it started."""
    raylet = node.all_processes["raylet"][0].process.pid
    children = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
    return [raylet, *map(int, children)]


if __name__ == "__main__":
    main(int(sys.argv[1]))
