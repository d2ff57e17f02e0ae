"""Trials that Tune is told to forget before they have a process; a real Ray, and a real Tuner."""

from pathlib import Path
from typing import Any

import pytest

from dexsearch.search.cluster import prepare_environment

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def test_tune_ends_well_although_a_trial_was_taken_back_before_its_process_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("HOME", str(tmp_path))
    prepare_environment(None)
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
            run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
        ).fit()
    assert len(taken_back) >= 2
    assert len(results) == 3
