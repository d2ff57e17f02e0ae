"""One driver of a search at scale, in a process of its own: `scale_driver.py REQUEST.json`.

Ours is `run_study` with the backend of every search. The peer is Ray Tune as its documentation
teaches it, with its own OptunaSearch and ASHA, and the same trial function in the same actors.
What was measured is printed as one line of JSON.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from driver_profile import DriverProfile
from watched_trials import WatchedTrials

from dexsearch.config.space import Scalar, SearchSpace
from dexsearch.ledger.study import State, StudyRecord
from dexsearch.search.cluster import prepare_environment
from dexsearch.search.curves import read_table
from dexsearch.search.driver import StudyDriver
from dexsearch.search.progress import SilentProgress
from dexsearch.search.study import run_study
from dexsearch.search.trial import Assignment, Report

REDUCTION = 4
MIN_EPOCHS = 3


@dataclass(frozen=True)
class Load:
    """What a driver is given; `folder` is for everything that it writes."""

    address: str
    folder: str
    curves: str
    trials: int
    epoch_s: float
    sampler: str = "tpe"
    pruner: str = "successive_halving"
    contender: str = "ours"
    begun: float = 0.0
    """When the process was started, in seconds since 1970."""


class Watch(SilentProgress):
    """Notes when what happened, and the driver's memory at every hundredth trial."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self.memory: list[tuple[int, float]] = []
        self.ended = self.epochs = self.reports = 0
        self.ended_at: list[float] = []

    def mark(self, what: str) -> None:
        """Note the first time of something."""
        self.at.setdefault(what, time.time())

    def opened(self, record: StudyRecord, *, trials: int, epochs: int) -> None:
        """Note that the ledger was read."""
        self.mark("ledger read")

    def trial_started(
        self, number: int, *, continued: bool, immune: bool,
        params: Mapping[str, Scalar] | None = None,
    ) -> None:  # fmt: skip
        """Note the first one, and the first that was not begun by an earlier process."""
        self.mark("first trial")
        if not continued:
            self.mark("first new trial")

    def epoch_done(self, number: int, epoch: int, value: float) -> None:
        """Count."""
        self.epochs += 1

    def trial_ended(
        self, number: int, state: State, value: float | None, reason: str | None
    ) -> None:
        """Count, and look at the memory now and then."""
        self.ended += 1
        self.ended_at.append(time.time())
        if self.ended % 100 == 0:
            self.memory.append((self.ended, resident_mib()))


def resident_mib() -> float:
    """Return the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def space_of(load: Load) -> SearchSpace:
    """Return the space of the recorded curves, with this load's algorithms."""
    changes: dict[str, Any] = {
        "trials": load.trials,
        "sampler": {"kind": load.sampler, "seed": 0},
        "pruner": {"kind": load.pruner, "min_epochs": MIN_EPOCHS, "reduction": REDUCTION},
        "resources": {"cpus": 1, "gpus": 1},
        "enqueue": (),
    }
    return SearchSpace.model_validate({**read_table(Path(load.curves)).space, **changes})


def run_ours(load: Load, watch: Watch, profile: DriverProfile) -> None:
    """Search with dexsearch."""
    from dexsearch.search.ray_backend import RayBackend

    space, folder = space_of(load), Path(load.folder)
    times = folder / "times"
    times.mkdir(parents=True, exist_ok=True)
    trials = WatchedTrials(Path(load.curves), load.epoch_s, times)
    on_report = StudyDriver.on_report

    def counted(driver: StudyDriver, report: Report) -> bool:
        before = watch.epochs
        is_over = on_report(driver, report)
        watch.reports += watch.epochs > before  # Tune tells the last one of a stopped trial twice
        return is_over

    StudyDriver.on_report = counted  # type: ignore[method-assign]

    class Backend:
        def run(self, driver: StudyDriver) -> None:
            watch.mark("study ready")
            profile.start()
            backend = RayBackend(trials, space.resources, folder / "s" / "tune", load.address)
            try:
                backend.run(driver)
            finally:
                profile.stop()

    run_study(
        space, study="s", folder=folder / "s", dataset=Path("recorded"), dataset_digest="recorded",
        size_px=(64, 64), progress=watch, backend=Backend(),
    )  # fmt: skip


def run_peer(load: Load, watch: Watch, profile: DriverProfile) -> None:
    """Search as Ray Tune's documentation teaches; actors are reused as ours are."""
    import logging

    import optuna
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    from dexsearch.search.space import suggest

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, folder = space_of(load), Path(load.folder)
    times = folder / "times"
    times.mkdir(parents=True, exist_ok=True)
    trials = WatchedTrials(Path(load.curves), load.epoch_s, times)
    epochs = space.epochs

    class Peer(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            self._records = trials(Assignment(0, dict(config), epochs, ""))

        def step(self) -> dict[str, Any]:
            record = next(self._records)
            return {**record, "done": record["epoch"] >= epochs}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._records.close()  # type: ignore[attr-defined]
            self.setup(new_config)
            return True

    class Ended(tune.Callback):  # type: ignore[misc]
        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401, E501  # fmt: skip
            watch.mark("first trial")

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:  # noqa: ANN401, E501  # fmt: skip
            watch.reports += 1
            watch.epochs += 1

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ANN401, E501  # fmt: skip
            watch.trial_ended(0, "complete", None, None)

    watch.mark("study ready")
    profile.start()
    ray.init(address=load.address, log_to_driver=False, logging_level=logging.ERROR)
    slots = int(ray.cluster_resources()["GPU"])
    tune.Tuner(
        tune.with_resources(Peer, {"cpu": 1, "gpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                space=partial(suggest, space=space), metric="val_ssim", mode="max",
                sampler=optuna.samplers.TPESampler(multivariate=True, group=True, seed=0),
            ),
            scheduler=ASHAScheduler(
                metric="val_ssim", mode="max", time_attr="epoch", max_t=epochs,
                grace_period=MIN_EPOCHS, reduction_factor=REDUCTION,
            ),
            num_samples=load.trials, max_concurrent_trials=slots, reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="peer", storage_path=str(folder / "peer"), verbose=0, callbacks=[Ended()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()  # fmt: skip
    profile.stop()


def main(request: str) -> None:
    """Run one driver and print what it took."""
    load = Load(**json.loads(Path(request).read_text()))
    if load.contender == "ours":
        prepare_environment(load.address)
    watch, profile = Watch(), DriverProfile()
    watch.mark("imported")
    run = run_ours if load.contender == "ours" else run_peer
    run(load, watch, profile)
    watch.mark("end")
    print(json.dumps({
        "at": {what: round(moment - load.begun, 3) for what, moment in watch.at.items()},
        "trials": watch.ended, "epochs": watch.epochs, "reports": watch.reports,
        "wall_s": watch.ended_at[-1] - watch.at["first trial"],
        "ended_s": [round(moment - watch.at["first trial"], 2) for moment in watch.ended_at],
        "memory_mib": watch.memory, "parts_s": profile.seconds(),
        "main_thread_s": round(profile.main_s, 2), "hot": profile.hottest(),
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
