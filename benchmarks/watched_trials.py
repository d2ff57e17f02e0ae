"""Recorded curves as trials, with a stopwatch on the slot that plays them.

A module of its own: a worker imports it by name, where a class of a script would travel with
every trial.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from dexsearch.search.recorded_trials import RecordedTrials
from dexsearch.search.trial import Assignment, Record

_SHORTEST_WAIT_S = 2e-4
"""Less has passed where an epoch was reported together with the next one."""

_OTHER_METRICS = ("val_ssim_whole", "val_psnr", "val_mae", "loss_l1", "loss_generator")


class WatchedTrials:
    """Plays records as wide as those of real training; notes when its slot was idle.

    A file per process, a line per trial: its begin, its last record, and each wait for the
    driver between two records.
    """

    def __init__(self, curves: Path, epoch_s: float, times: Path) -> None:
        """`times` is the folder of the files; it exists."""
        self._trials = RecordedTrials(curves, epoch_s=epoch_s)
        self._times = times

    def __call__(self, assignment: Assignment) -> Iterator[Record]:
        """Yield the records of a trial."""
        begin = last = time.time()
        waits: list[float] = []
        epochs = 0
        try:
            for record in self._trials(assignment):
                last, epochs = time.time(), epochs + 1
                others = dict.fromkeys(_OTHER_METRICS, record["val_ssim"])
                yield {**record, **others, "loss_discriminator": None}
                waited = time.time() - last
                if waited > _SHORTEST_WAIT_S:
                    waits.append(round(waited, 5))
        finally:
            line = {"begin": begin, "last": last, "waits": waits, "epochs": epochs}
            with (self._times / f"{os.getpid()}.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class SlotTimes:
    """How the slots spent their time, in seconds."""

    actors: int
    report_s: tuple[float, float]
    """From a report to the next epoch: median, and 95 % are shorter."""

    turnover_s: tuple[float, float]
    """From a trial's last report to the next trial's begin, likewise."""

    busy: float
    """Part of the slots' time that is epochs, after each process's first trial began."""


def slot_times(times: Path, epoch_s: float) -> SlotTimes:
    """Read what `WatchedTrials` wrote."""
    waits, turnovers, trained, total = [0.0], [0.0], 0.0, 1e-9
    files = list(times.glob("*.jsonl"))
    for path in files:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines.sort(key=lambda line: line["begin"])
        waits += [wait for line in lines for wait in line["waits"]]
        turnovers += [later["begin"] - line["last"] for line, later in pairwise(lines)]
        trained += epoch_s * sum(line["epochs"] for line in lines)
        total += lines[-1]["last"] - lines[0]["begin"]
    return SlotTimes(len(files), _median_and_95(waits[1:]), _median_and_95(turnovers[1:]),
                     trained / total)  # fmt: skip


def _median_and_95(values: list[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 0.0
    return float(np.quantile(values, 0.5)), float(np.quantile(values, 0.95))
