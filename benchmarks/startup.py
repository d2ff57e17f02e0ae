"""How long a person waits for `--help` and `best`, beside the commands of Optuna and MLflow.

    python benchmarks/startup.py [--workspace DIR] [--repeats 10]

Prints the smallest and the median wall time of each command, and the ratio to the first.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Time every command in turn, `repeats` rounds over all, after one round to warm up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", default="workspace")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    programs = Path(sys.executable).parent
    commands = {
        "dexsearch --help": [str(programs / "dexsearch"), "--help"],
        "dexsearch best": [str(programs / "dexsearch"), "best", "--workspace", options.workspace],
        "optuna --help": [str(programs / "optuna"), "--help"],
        "mlflow --help": [str(programs / "mlflow"), "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.repeats + 1):
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            seconds[name].append(time.perf_counter() - begin)
    first = statistics.median(seconds["dexsearch --help"][1:])
    for name, (_, *measured) in seconds.items():
        median = statistics.median(measured)
        print(f"{name:18} min {min(measured):.3f} s, median {median:.3f} s, {median / first:.1f}x")


if __name__ == "__main__":
    main()
