"""Run one search on a real local Ray with an invented curve: `drive_search.py REQUEST.json`.

A program of its own, so that it can be killed, and so that no other test has imported Ray.
"""

import json
import sys
from pathlib import Path

from dexsearch.config.space import SearchSpace
from dexsearch.errors import DexSearchError
from dexsearch.search.cluster import prepare_environment
from dexsearch.search.study import run_study


def main(request_path: str) -> int:
    request = json.loads(Path(request_path).read_text())
    prepare_environment(None)
    from invented_curves import FUNCTIONS

    from dexsearch.search.ray_backend import RayBackend

    space = SearchSpace.model_validate(request["space"])
    folder = Path(request["folder"])
    backend = RayBackend(FUNCTIONS[request["function"]], space.resources, folder / "tune")
    try:
        outcome = run_study(
            space,
            study=folder.name,
            folder=folder,
            dataset=Path("datasets/x"),
            dataset_digest="digest",
            size_px=(64, 64),
            backend=backend,
        )
    except DexSearchError as error:
        sys.stdout.write(json.dumps({"error": str(error)}))
        return error.exit_code
    sys.stdout.write(json.dumps({"interrupted": outcome.interrupted}))
    return outcome.interrupted or 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
