"""Does a search stay as fast and as small as it began? A thousand trials through the real bridge.

Invented curves are replayed without sleeping, on a real local Ray, with TPE and successive
halving; so all the time is the search's own.

    python benchmarks/thousand_trials.py                 # 1,000 trials
    python benchmarks/thousand_trials.py --trials 250    # a first look
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dexsearch.search.cluster import prepare_environment

prepare_environment(None)

from dexsearch.config.space import SearchSpace  # noqa: E402  (Ray's environment first)
from dexsearch.ledger.study import State  # noqa: E402
from dexsearch.search.progress import SilentProgress  # noqa: E402
from dexsearch.search.ray_backend import RayBackend  # noqa: E402
from dexsearch.search.study import run_study  # noqa: E402
from dexsearch.search.trial import Assignment, Record  # noqa: E402

SPACE = {
    "task": "joint",
    "data": {"path": "invented"},
    "epochs": 27,
    "pruner": {"kind": "successive_halving", "min_epochs": 3},
    "search": {
        "generator.depth": {"int": [2, 5]},
        "generator.width": {"choice": [8, 16, 32]},
        "loss.l1_weight": {"float": [1.0, 1000.0], "log": True},
        "optimizer.learning_rate": {"float": [1e-5, 1e-2], "log": True},
    },
}
BLOCK = 100


def invented(assignment: Assignment) -> Iterator[Record]:
    """Yield a rising curve whose height depends on the learning rate and the depth."""
    config = assignment.config
    off = abs(math.log10(config["optimizer"]["learning_rate"]) + 3)
    top = 0.95 - off / 20 - abs(config["generator"]["depth"] - 4) / 100
    for epoch in range(1, assignment.epochs + 1):
        yield {"epoch": epoch, "val_ssim": top - 0.5 * math.exp(-epoch / 5), "seconds": 0.0}


class Stopwatch(SilentProgress):
    """Notes the time and the driver's memory whenever a trial ends."""

    def __init__(self) -> None:
        self.ended: list[tuple[float, float]] = []

    def trial_ended(
        self, number: int, state: State, value: float | None, reason: str | None
    ) -> None:
        """Note seconds and MiB."""
        self.ended.append((time.perf_counter(), resident_mib()))


def resident_mib() -> float:
    """Return the memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system does not tell VmRSS")


def main() -> None:
    """Run the search and print how its last trials compare with its first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    n_trials = parser.parse_args().trials
    if n_trials < 2 * BLOCK + 10:
        parser.error(f"--trials {n_trials} is too few; give at least {2 * BLOCK + 10}")
    space = SearchSpace.model_validate({**SPACE, "trials": n_trials})
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="thousand-") as folder:
        study = Path(folder, "s")
        run_study(
            space, study="s", folder=study, dataset=Path("invented"), dataset_digest="invented",
            size_px=(64, 64), progress=watch,
            backend=RayBackend(invented, space.resources, study / "tune"),
        )  # fmt: skip
    seconds, memory = zip(*watch.ended, strict=True)
    first = (seconds[BLOCK] - seconds[0]) / BLOCK
    last = (seconds[-1] - seconds[-1 - BLOCK]) / BLOCK
    print(f"{len(seconds)} trials in {seconds[-1] - seconds[0]:.0f} s")
    print(f"seconds per trial: first {BLOCK} {first:.3f}, last {BLOCK} {last:.3f}", end=" ")
    print(f"(ratio {last / first:.2f})")
    print(
        f"driver: {memory[BLOCK]:.0f} MiB after {BLOCK}, {memory[-1]:.0f} MiB at the end", end=""
    )
    print(f" (ratio {memory[-1] / memory[BLOCK]:.2f})")


if __name__ == "__main__":
    main()
