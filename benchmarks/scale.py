"""How large a search can one driver run? Recorded curves through the real Ray, study and ledger.

2,000 trials of at most 27 epochs on 4 virtual nodes of 8 logical GPUs, joined by address with a
token; real bridge, TPE, successive halving, ledger with fsync, study.db. The peer is Ray Tune with
its own OptunaSearch and ASHA, in reused actors as ours are; then smaller runs for the model of
what a driver costs, and a kill -9 in the middle with the way back. All times are of a driver's
own processor unless they say "wall".

    python benchmarks/scale.py                         # everything; an hour on two cores
    python benchmarks/scale.py --parts main,restart --trials 250 --nodes 2 --gpus 4
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scale_report import Run, print_model, print_ratios, print_run
from scale_restart import killed_in_the_middle
from virtual_cluster import VirtualCluster, virtual_cluster
from watched_trials import SlotTimes, slot_times

HERE = Path(__file__).parent
CURVES = HERE / "curves" / "joint-64px.jsonl"
LEDGER = "s/ledger.jsonl"


class Scale:
    """Runs drivers on virtual clusters, one after the other, and keeps what they took."""

    def __init__(self, epoch_s: float, folder: Path, out: Path | None) -> None:
        self._epoch_s = epoch_s
        self._folder = folder
        self._out = out

    def run(
        self, name: str, cluster: VirtualCluster, slots: int, trials: int, **load: object
    ) -> Run:
        """Run one driver to its end."""
        folder = self._folder / name.replace(" ", "-").replace(",", "")
        folder.mkdir(parents=True)
        epoch_s = float(load.pop("epoch_s", self._epoch_s))  # type: ignore[arg-type]
        before = cluster.cpu_s()
        told = finished(begun(cluster, folder, trials, epoch_s=epoch_s, **load))
        after, ledger = cluster.cpu_s(), folder / LEDGER
        run = Run(
            name, slots, {"trials": trials, "epoch_s": epoch_s, **load}, told,
            {kind: round(after[kind] - before.get(kind, 0.0), 1) for kind in after},
            slot_times(folder / "times", epoch_s),
            ledger.stat().st_size if ledger.exists() else 0,
        )  # fmt: skip
        if self._out is not None:
            with self._out.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")
        return run


def begun(
    cluster: VirtualCluster, folder: Path, trials: int, **load: object
) -> "subprocess.Popen[str]":
    """Start a driver process."""
    request = folder / "request.json"
    values = {"address": cluster.address, "folder": str(folder), "curves": str(CURVES), **load}
    request.write_text(json.dumps({**values, "trials": trials, "begun": time.time()}))
    command = [sys.executable, str(HERE / "scale_driver.py"), str(request)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finished(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for a driver and return what it measured."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a driver ended with {process.returncode}: {output[-2000:]}")
    told: dict[str, Any] = json.loads(output.splitlines()[-1])
    return told


def restarted(cluster: VirtualCluster, folder: Path, trials: int) -> None:
    """Kill a driver in the middle of a search and time the way back of the same command."""

    def begin(name: str, n_trials: int) -> "subprocess.Popen[str]":
        (folder / name).mkdir(exist_ok=True)
        return begun(cluster, folder / name, n_trials, epoch_s=0.0)

    killed_in_the_middle(begin, finished, folder, trials)


@contextlib.contextmanager
def cluster_of(slots: int, gpus: int) -> Iterator[VirtualCluster]:
    """Start as many nodes of `gpus` GPUs as the slots need."""
    per_node = min(slots, gpus)
    with virtual_cluster(slots // per_node, per_node) as cluster:
        yield cluster


def main() -> None:
    """Parse, and keep or remove what the drivers write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="main,peer,fit,restart")
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--peer-trials", type=int, help="if the peer gets fewer")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--epoch-s", type=float, default=0.5)
    parser.add_argument("--folder", type=Path, help="keep the studies here; else they are removed")
    parser.add_argument("--out", type=Path, help="append each run; the model reads all of it")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if asked.folder is None:
            asked.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scale-")))
        measure(asked)


def measure(asked: argparse.Namespace) -> None:
    """Run the parts that were asked for and print each."""
    parts, trials, slots = asked.parts.split(","), asked.trials, asked.nodes * asked.gpus
    scale, runs = Scale(asked.epoch_s, asked.folder, asked.out), []
    with cluster_of(slots, asked.gpus) as cluster:
        if "main" in parts:
            runs.append(scale.run("ours", cluster, slots, trials))
            print_run(runs[0])
        if "peer" in parts:
            peer = scale.run("peer", cluster, slots, asked.peer_trials or trials, contender="peer")
            print_run(peer)
            if runs:
                print_ratios(runs[0], peer)
        if "fit" in parts:
            runs += [
                scale.run(f"{n} trials, {epoch_s} s", cluster, slots, n, epoch_s=epoch_s)
                for n, epoch_s in ((trials // 8, 0.0), (trials // 4, 0.2), (trials // 2, 0.0))
            ]
        if "restart" in parts:
            restarted(cluster, asked.folder, trials)
    if "fit" in parts:
        for fewer in sorted({max(1, slots // n) for n in (8, 4, 2)}):
            with cluster_of(fewer, asked.gpus) as cluster:
                name = f"{trials // 8} trials, {fewer} slots"
                runs.append(scale.run(name, cluster, fewer, trials // 8, epoch_s=0.1))
    if "fit" in parts:
        print_model(runs if asked.out is None else list(kept_runs(asked.out)))


def kept_runs(path: Path) -> Iterator[Run]:
    """Yield our own runs that a file has, earlier ones of this machine included."""
    for line in path.read_text().splitlines():
        values = json.loads(line)
        if values["load"].get("contender", "ours") == "ours":
            yield Run(**{**values, "slot": SlotTimes(**values["slot"])})


if __name__ == "__main__":
    main()
