"""How long a person waits for `--help`, `best`, `doctor`, beside commands of Optuna and MLflow.

    python benchmarks/startup.py [--workspace DIR] [--versions 1000] [--repeats 10]

`best` reads a registry of so many versions, made for the benchmark; `doctor` looks through DIR
without reading every byte of its generators. Prints the smallest and the median wall time of each
command, and the ratio to the first.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from dexsearch.registry.entries import Registration
from dexsearch.registry.record import LOG_NAME


def main() -> None:
    """Time every command in turn, `repeats` rounds over all, after one round to warm up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", default="workspace")
    parser.add_argument("--versions", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_registry(Path(folder), options.versions)
        seconds = measure(commands(options.workspace, folder, options.versions), options.repeats)
    first = statistics.median(seconds["dexsearch --help"])
    for name, measured in seconds.items():
        median = statistics.median(measured)
        print(f"{name:30} min {min(measured):.3f} s, median {median:.3f} s, {median / first:.1f}x")


def commands(workspace: str, registry: str, n_versions: int) -> dict[str, list[str]]:
    """Return what is timed, by its name."""
    programs = Path(sys.executable).parent
    dexsearch = str(programs / "dexsearch")
    return {
        "dexsearch --help": [dexsearch, "--help"],
        "dexsearch best": [dexsearch, "best", "--workspace", workspace],
        f"dexsearch best, {n_versions} versions": [dexsearch, "best", "--workspace", registry],
        "dexsearch doctor --quick": [dexsearch, "doctor", "--quick", "--workspace", workspace],
        "optuna --help": [str(programs / "optuna"), "--help"],
        "mlflow --help": [str(programs / "mlflow"), "--help"],
    }


def measure(timed: dict[str, list[str]], repeats: int) -> dict[str, list[float]]:
    """Return the wall times of every command in seconds; `doctor` may find a problem (exit 4)."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(repeats + 1):
        for name, command in timed.items():
            begin = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode not in ((0, 4) if "doctor" in name else (0,)):
                raise SystemExit(f"{name} ended with {done.returncode}: {done.stderr}")
            if turn > 0:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def write_registry(workspace: Path, n_versions: int) -> None:
    """Write a registry of one name, whose versions come of studies of 40 trials."""
    with (workspace / LOG_NAME).open("w", encoding="utf-8") as log:
        for number in range(1, n_versions + 1):
            event = {"event": "registered", **asdict(registration(number))}
            log.write(json.dumps(event, separators=(",", ":")) + "\n")
        move = {"event": "alias", "name": "dexsearch-joint", "alias": "champion", "version": 1}
        log.write(json.dumps({**move, "reason": "the name had no champion", "time": 1e9}) + "\n")


def registration(number: int) -> Registration:
    """Return a version with everything that a real one tells."""
    score = 0.8 + (number * 7919 % 1000) / 1e4
    both = {"bone": score, "tissue": score}
    return Registration(
        name="dexsearch-joint", version=number, task="joint", study=f"study-{number // 40}",
        trial=number % 40, dataset="d" * 64, metric=1, val_ssim=score, val_ssim_bone=score,
        val_ssim_tissue=score, epochs=60, n_parameters=500_000,
        baselines=dict.fromkeys(("identity_affine", "nearest_pose", "constant"), both),
        params={f"generator.parameter_{index}": 0.001 * number for index in range(8)},
        package=f"mlartifacts/generators/{number:016x}", weights_sha256=f"{number:064x}",
        sha256=f"{number:064x}", time=1e9 + number, head="joint",
        scores={f"val_{index}": score for index in range(12)},
        intervals={"val_ssim": [score - 0.01, score + 0.01]}, n_subjects=8, size_bytes=2_000_000,
        latency={"ms": 12.5, "size_px": [64, 64], "device": "cpu", "threads": 2, "machine": "CPU"},
        seed=0, git_commit="0" * 40,
    )  # fmt: skip


if __name__ == "__main__":
    main()
