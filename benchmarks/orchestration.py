"""How much of the time that a search has on its slots is training? Ours beside Ray's own way.

Both contenders run the same trial function (real training of a U-Net and a PatchGAN on a phantom
cohort) with the same pruning rule, one after the other, each in a process of its own. The peer is
Ray Tune as its documentation teaches it: a function trainable, OptunaSearch, ASHA, and a fresh
actor for each trial.

    python benchmarks/orchestration.py                            # 24 trials of 15 s or more
    python benchmarks/orchestration.py --trials 6 --seconds 5     # two minutes, a first look

The clock starts when Ray is up and stops when the search returns. `training` is what the epoch
records say; the other lines tell where the rest of the slots' time went.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dexsearch.search.trial import Assignment

PARAMETERS = {"optimizer.learning_rate": (1e-4, 1e-2), "loss.l1_weight": (10.0, 1000.0)}
FIXED = {
    "generator.depth": 4,
    "generator.width": 16,
    "discriminator.patch_px": 34,
    "batch_size": 8,
}
REDUCTION = 3


@dataclass(frozen=True)
class Contest:
    """What both contenders are given; survivors train `REDUCTION` times `min_epochs`."""

    dataset: str
    folder: str
    trials: int
    slots: int
    min_epochs: int

    @property
    def epochs(self) -> int:
        """Epochs of a trial that is not stopped."""
        return REDUCTION * self.min_epochs


class TimedTrials:
    """The trial function with a stopwatch: a line per epoch into a file per process."""

    def __init__(self, contest: Contest) -> None:
        from dexsearch.search.data_source import FolderSource
        from dexsearch.search.training_trials import TrainingTrials

        self._trials = TrainingTrials(FolderSource(Path(contest.dataset)), cpus=1)
        self._folder = Path(contest.folder) / "times"

    def __call__(self, assignment: "Assignment") -> Iterator[dict[str, Any]]:
        """Yield the records of a trial."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{os.getpid()}.jsonl").open("a") as file:
            begin = time.time()
            for record in self._trials(assignment):
                times = {"trial": assignment.number, "begin": begin, "end": time.time()}
                file.write(json.dumps({**times, "training": record["seconds"]}) + "\n")
                file.flush()
                yield record
                begin = time.time()


def run_ours(contest: Contest) -> dict[str, float]:
    """Search with dexsearch."""
    from dexsearch.search.cluster import prepare_environment

    prepare_environment(None)
    from dexsearch.config.space import SearchSpace
    from dexsearch.search.driver import StudyDriver
    from dexsearch.search.ray_backend import RayBackend
    from dexsearch.search.ray_cluster import ray_cluster
    from dexsearch.search.study import run_study

    clock: dict[str, float] = {}
    space = SearchSpace.model_validate(
        {
            "task": "joint",
            "data": {"path": contest.dataset},
            "trials": contest.trials,
            "epochs": contest.epochs,
            "pruner": {"min_epochs": contest.min_epochs, "reduction": REDUCTION},
            "search": {k: {"float": list(ends), "log": True} for k, ends in PARAMETERS.items()},
            "fixed": FIXED,
        }
    )

    class TimedBackend:
        def run(self, driver: StudyDriver) -> None:
            folder = Path(contest.folder)
            trials = TimedTrials(contest)
            with ray_cluster(None), timed(clock):
                RayBackend(trials, space.resources, folder / "tune").run_on(driver)

    run_study(
        space,
        study="ours",
        folder=Path(contest.folder),
        dataset=Path(contest.dataset),
        dataset_digest="benchmark",
        size_px=(64, 64),
        backend=TimedBackend(),
    )
    return clock


def run_peer(contest: Contest) -> dict[str, float]:
    """Search as the documentation of Ray Tune teaches: function, OptunaSearch, ASHA."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    function = TimedTrials(contest)
    epochs = contest.epochs
    folder = contest.folder

    def train_function(config: dict[str, float]) -> None:
        from dexsearch.config.trial import trial_config
        from dexsearch.search.trial import Assignment

        name = tune.get_context().get_trial_id()
        values = trial_config({"task": "joint", **FIXED, **config}).model_dump(mode="json")
        for record in function(Assignment(hash(name), values, epochs, str(Path(folder) / name))):
            tune.report({"val_ssim": record["val_ssim"], "epoch": record["epoch"]})

    clock: dict[str, float] = {}
    ray.init(include_dashboard=False)
    with timed(clock):
        tuner = tune.Tuner(
            tune.with_resources(train_function, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                metric="val_ssim",
                mode="max",
                search_alg=OptunaSearch(),
                scheduler=ASHAScheduler(
                    time_attr="epoch",
                    max_t=epochs,
                    grace_period=contest.min_epochs,
                    reduction_factor=REDUCTION,
                ),
                num_samples=contest.trials,
                max_concurrent_trials=contest.slots,
                reuse_actors=False,
            ),
            run_config=tune.RunConfig(storage_path=str(Path(folder, "tune").resolve())),
            param_space={k: tune.loguniform(*ends) for k, ends in PARAMETERS.items()},
        )
        tuner.fit()
    ray.shutdown()
    return clock


@contextmanager
def timed(clock: dict[str, float]) -> Iterator[None]:
    """Write wall-clock and processor time of a block into a dictionary."""
    cpu = time.process_time()
    clock["begin"] = time.time()
    yield
    clock["end"] = time.time()
    clock["driver_cpu_s"] = time.process_time() - cpu


def shares(contest: Contest, clock: dict[str, float]) -> dict[str, float]:
    """Divide the slots' time, in seconds, among training and what is not."""
    by_trial: dict[int, list[dict[str, float]]] = {}
    for path in Path(contest.folder, "times").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            by_trial.setdefault(json.loads(line)["trial"], []).append(json.loads(line))
    trials = [sorted(lines, key=lambda line: line["end"]) for lines in by_trial.values()]
    begins = sorted(lines[0]["begin"] for lines in trials)[: contest.slots]
    ends = sorted(lines[-1]["end"] for lines in trials)[-contest.slots :]
    found = {
        "training": sum(line["training"] for lines in trials for line in lines),
        "data, networks, checkpoints": sum(
            line["end"] - line["begin"] - line["training"] for lines in trials for line in lines
        ),
        "between epochs": sum(
            later["begin"] - line["end"] for lines in trials for line, later in pairwise(lines)
        ),
        "start of the first actors": sum(begin - clock["begin"] for begin in begins),
        "no trial left": sum(clock["end"] - end for end in ends),
    }
    total = contest.slots * (clock["end"] - clock["begin"])
    between = total - sum(found.values())
    return {**found, "between trials": between, "total": total, "trials": len(trials)}


def seconds_per_epoch(dataset: str) -> float:
    """Train two epochs alone on one thread and time the second."""
    from dexsearch.config.trial import trial_config
    from dexsearch.search.data_source import FolderSource
    from dexsearch.search.training_trials import TrainingTrials
    from dexsearch.search.trial import Assignment

    config = trial_config({"task": "joint", **FIXED}).model_dump(mode="json")
    with tempfile.TemporaryDirectory() as folder:
        run = TrainingTrials(FolderSource(Path(dataset)), cpus=1)(Assignment(0, config, 2, folder))
        return float([record["seconds"] for record in run][-1])


def contend(name: str, contest: Contest) -> dict[str, float]:
    """Run one contender in a process of its own; return where its slots' time went."""
    command = [
        sys.executable,
        __file__,
        "--contender",
        name,
        "--contest",
        json.dumps(asdict(contest)),
    ]
    with Path(contest.folder).with_suffix(".log").open("w") as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, check=True)
    clock = json.loads(done.stdout.splitlines()[-1])
    return {**shares(contest, clock), "driver_cpu_s": clock["driver_cpu_s"]}


def told(name: str, found: dict[str, float]) -> str:
    """Return the table of one contender."""
    total = found["total"]
    lines = [f"{name}: {int(found['trials'])} trials in {total / 2:.0f} s on 2 slots"]
    for part in sorted(found.keys() - {"total", "trials", "driver_cpu_s"}, key=found.__getitem__):
        lines.insert(1, f"  {found[part] / total:7.1%}  {found[part]:8.1f} s  {part}")
    lines.append(f"  the driver used {found['driver_cpu_s']:.1f} s of a processor")
    return "\n".join(lines)


def overhead_s(found: dict[str, float]) -> float:
    """Return the slot time that is not training, per trial, in seconds."""
    return (found["total"] - found["training"]) / found["trials"]


def main() -> None:
    """Make the cohort, find the length of a trial, run both, print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=15.0, help="least length of a trial")
    parser.add_argument("--contender", choices=["ours", "peer"])
    parser.add_argument("--contest")
    arguments = parser.parse_args()
    if arguments.contender:
        run: dict[str, Callable[[Contest], dict[str, float]]] = {
            "ours": run_ours,
            "peer": run_peer,
        }
        print(json.dumps(run[arguments.contender](Contest(**json.loads(arguments.contest)))))
        return
    with tempfile.TemporaryDirectory(prefix="orchestration-") as folder:
        dataset = str(Path(folder, "cohort"))
        make = ["data", "phantom", dataset, "--subjects", "8", "--poses", "8", "--size", "64"]
        dexsearch = Path(sys.executable).with_name("dexsearch")
        subprocess.run([dexsearch, *make], check=True, capture_output=True)
        epoch_s = seconds_per_epoch(dataset)
        min_epochs = math.ceil(arguments.seconds / epoch_s)
        print(
            f"an epoch takes {epoch_s:.2f} s alone; a trial has {min_epochs} to {3 * min_epochs}"
        )
        results = {}
        for name in ("ours", "peer"):
            contest = Contest(dataset, f"{folder}/{name}", arguments.trials, 2, min_epochs)
            results[name] = contend(name, contest)
            print(told(name, results[name]), flush=True)
    ours, peer = (found["training"] / found["total"] for found in results.values())
    print(f"slot time in training: {ours:.1%} against {peer:.1%} (ratio {ours / peer:.2f})")
    ours, peer = (overhead_s(found) for found in results.values())
    print(f"overhead per trial: {ours:.2f} s against {peer:.2f} s ({peer / ours:.1f} times less)")


if __name__ == "__main__":
    main()
