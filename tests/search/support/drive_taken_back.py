"""Take trials back before Tune has begun them: `drive_taken_back.py FOLDER`; JSON of what is left.

A program of its own, because Ray keeps what its first start in a process was told.
"""

import json
import sys
from typing import Any

from dexsearch.search.cluster import prepare_environment


def take_back(folder: str) -> dict[str, int]:
    import ray
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler

    from dexsearch.search.ray_cluster import ray_cluster
    from dexsearch.search.tune_actors import end_waiting_trials

    taken_back: list[Any] = []

    class Impatient(FIFOScheduler):
        """Takes each trial but the first back in the turn in which Tune has added it."""

        def choose_trial_to_run(self, tune_controller: Any) -> Any:  # noqa: ANN401
            if len(tune_controller.get_trials()) > 1:
                taken_back.extend(end_waiting_trials(tune_controller))
            return super().choose_trial_to_run(tune_controller)

    class Counts(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.n = 0

        def step(self) -> dict[str, Any]:
            self.n += 1
            return {"n": self.n, "done": self.n == 200}

    with ray_cluster(None):
        all_of_it = {"cpu": ray.cluster_resources()["CPU"]}
        results = tune.Tuner(
            tune.with_resources(Counts, all_of_it),
            param_space={"which": tune.grid_search([1, 2, 3])},
            tune_config=tune.TuneConfig(scheduler=Impatient()),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
    return {"taken_back": len(taken_back), "results": len(results)}


if __name__ == "__main__":
    prepare_environment(None)
    told = take_back(sys.argv[1])
    sys.stdout.write(json.dumps(told) + "\n")
