"""Ask a Ray cluster who it is: `python -m dexsearch.search.cluster_probe ADDRESS` prints JSON.

A process of its own, because Ray's client ends its process where a token is missing, waits for
minutes where nobody answers, and writes to standard error. joining.py reads what it prints.
"""

import json
import sys
from typing import Any

from dexsearch.errors import EnvironmentFault
from dexsearch.search.cluster import refuse_bad_address

REQUEST_TIMEOUT_S = 5


def ask_cluster(address: str) -> dict[str, Any]:
    """Return how the cluster at `address` answers: an outcome, and what comes with it.

    - `answer`: `address` (HOST:PORT), `ray`, `python` (versions of the cluster), `own_ray`,
      `own_python`, `here` (whether this machine is one of its nodes), `nodes` (how many live);
    - `refused`: the cluster asks for another token;
    - `unknown`: no cluster, with a `reason`.
    """
    import ray  # noqa: PLC0415  (main() reports what this raises)
    from ray._private import services  # noqa: PLC0415
    from ray._private.utils import compute_version_info  # noqa: PLC0415
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # noqa: PLC0415
    from ray.exceptions import AuthenticationError  # noqa: PLC0415

    found = None
    try:
        found = services.canonicalize_bootstrap_address(address)
        if found is None:
            return {"outcome": "unknown", "reason": "no Ray cluster runs on this machine"}
        refuse_bad_address(found)
        client = GcsClient(address=found)
        metadata = client.internal_kv_get(
            b"CLUSTER_METADATA", b"cluster", timeout=REQUEST_TIMEOUT_S
        )
        nodes = client.get_all_node_info(timeout=REQUEST_TIMEOUT_S)
    except AuthenticationError:
        return {"outcome": "refused"}
    except (EnvironmentFault, ValueError, OSError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())
        return {"outcome": "unknown", "reason": reason + renamed(address, found)}
    living = {node_id.hex() for node_id, node in nodes.items() if node.state == node.ALIVE}
    versions = json.loads(metadata or b"{}")
    own_ray, own_python = compute_version_info()  # type: ignore[no-untyped-call]
    own_nodes = services.find_node_ids()  # type: ignore[no-untyped-call]
    return {
        "outcome": "answer",
        "address": found,
        "ray": versions.get("ray_version"),
        "python": versions.get("python_version"),
        "own_ray": own_ray,
        "own_python": own_python,
        "here": not living.isdisjoint(own_nodes),
        "nodes": len(living),
    }


def renamed(address: str, found: str | None) -> str:
    """Say that Ray looked elsewhere: it takes the loopback for this machine's outer address."""
    if found is None or address in ("auto", found):
        return ""
    return f" (Ray takes {address} for {found})"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(ask_cluster(sys.argv[1])))
