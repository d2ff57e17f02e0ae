"""Run one search on a real local Ray with an invented curve: `drive_search.py REQUEST.json`.

A program of its own, so that it can be killed, and so that no other test has imported Ray.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dexsearch.config.space import SearchSpace
from dexsearch.errors import DexSearchError
from dexsearch.search.backend import Backend
from dexsearch.search.cluster import prepare_environment
from dexsearch.search.driver import StudyDriver
from dexsearch.search.study import run_study

if TYPE_CHECKING:
    from dexsearch.search.ray_backend import RayBackend


NEED_BYTES = 4 * 2**30
"""What a trial is said to need of a pretended GPU."""


@dataclass(frozen=True)
class OnPretendedGpus:
    """Runs a backend on a local Ray that counts absent GPUs, and two processors for each."""

    backend: "RayBackend"
    n_gpus: int
    is_full: bool = False
    """Somebody else has all its processors."""

    def run(self, driver: StudyDriver) -> None:
        import ray

        from dexsearch.search.ray_cluster import scratch_folder, silence_ray

        silence_ray()
        scratch = scratch_folder()
        ray.init(
            address="local", num_cpus=max(1, 2 * self.n_gpus), num_gpus=self.n_gpus,
            include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000,
            _node_ip_address="127.0.0.1", _temp_dir=scratch,
        )  # fmt: skip
        try:
            if self.is_full:
                others = ray.util.placement_group([{"CPU": 1}])
                ray.get(others.ready())
            self.backend.run_on(driver)
        finally:
            ray.shutdown()
            shutil.rmtree(scratch, ignore_errors=True)


def main(request_path: str) -> int:
    request = json.loads(Path(request_path).read_text())
    prepare_environment(request.get("address"))
    from invented_curves import FUNCTIONS

    from dexsearch.search.ray_backend import RayBackend

    space = SearchSpace.model_validate(request["space"])
    folder = Path(request["folder"])
    backend: Backend = RayBackend(
        FUNCTIONS[request["function"]], space.resources, folder / "tune",
        need_bytes=NEED_BYTES if request["gpus"] else None, address=request.get("address"),
    )  # fmt: skip
    if request["gpus"] or request["is_full"]:
        backend = OnPretendedGpus(backend, request["gpus"], request["is_full"])
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
