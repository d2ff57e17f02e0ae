"""Look at the nodes of a cluster: `drive_preflight.py REQUEST.json`; JSON of what came out.

A program of its own, because a test process joins no cluster. Lines that are told go to standard
error as they come.
"""

import json
import sys
from pathlib import Path
from typing import Any

from dexsearch.config.space import ResourcesConfig
from dexsearch.errors import DexSearchError
from dexsearch.search.cluster import prepare_environment


def told(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def look(asked: dict[str, Any]) -> dict[str, Any]:
    from dexsearch.search.preflight import PreflightRequest, preflight
    from dexsearch.search.ray_cluster import ray_cluster

    request = PreflightRequest(
        **{
            **asked,
            "dataset": Path(asked["dataset"]),
            "resources": ResourcesConfig(**asked["resources"]),
        }
    )
    try:
        with ray_cluster(request.address, ship_code=request.ship_code, tell=told):
            reports = preflight(request, told).reports
    except DexSearchError as error:
        return {"error": str(error), "hint": error.hint, "exit_code": error.exit_code}
    return {"nodes": {report.hostname: report.sees_dataset for report in reports}}


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    prepare_environment(asked["address"])
    sys.stdout.write(json.dumps(look(asked)))
