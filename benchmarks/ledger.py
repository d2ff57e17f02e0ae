"""What does an event cost that is on the disk when the call returns? Against a plain write.

Both append the record of one epoch, as a search does, and flush it with fsync; turns alternate,
so that a busy disk hits both. What is left over is JSON, the time stamp, the check for room and
the look whether the study was taken over, which is also timed alone.

    python benchmarks/ledger.py
    python benchmarks/ledger.py --folder /mnt/scratch    # another disk
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from dexsearch.ledger.log import EventLog
from dexsearch.search.lease import Lease, study_lease

ALLOWED_MS = 0.3
CHECKS = 100_000
RECORD = {
    "epoch": 1, "seconds": 0.5, "val_ssim": 0.8123456789, "val_ssim_bone": 0.79, "val_psnr": 28.1,
    "val_ssim_tissue": 0.83, "val_mae": 0.012, "loss_l1": 0.02, "loss_adversarial": 0.7,
}  # fmt: skip


def seconds_by_turns(folder: Path, n_events: int, lease: Lease) -> tuple[list[float], list[float]]:
    """Append `n_events` each, by turns; return the seconds of every append, ours and plain."""
    line = (json.dumps({"event": "epoch", "trial": 0, "record": RECORD}) + "\n").encode()
    ours, plain = [], []
    ledger = EventLog(folder / "ledger.jsonl", check=lease.check)
    with ledger as log, (folder / "plain").open("ab", 0) as file:
        for _ in range(n_events):
            begun = time.perf_counter()
            log.append({"event": "epoch", "trial": 0, "record": RECORD})
            middle = time.perf_counter()
            file.write(line)
            os.fsync(file.fileno())
            ours.append(middle - begun)
            plain.append(time.perf_counter() - middle)
    return ours, plain


def microseconds_of_check(lease: Lease) -> float:
    """Return the mean time of looking whether another process has taken the study over."""
    begun = time.perf_counter()
    for _ in range(CHECKS):
        lease.check()
    return (time.perf_counter() - begun) / CHECKS * 1e6


def main() -> None:
    """Print both medians and their ratio; exit with 1 if it is slower than allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk to measure")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=asked.folder) as folder,
        study_lease(Path(folder), takeover=False, tell=print) as lease,
    ):
        ours, plain = seconds_by_turns(Path(folder), asked.events, lease)
        check_us = microseconds_of_check(lease)
    mine_ms, plain_ms = (1000 * statistics.median(times) for times in (ours, plain))
    worst_ms = 1000 * sorted(ours)[int(0.99 * len(ours))]
    print(f"append with fsync: median {mine_ms:.3f} ms, 99 % under {worst_ms:.3f} ms")
    print(f"a plain write with fsync: median {plain_ms:.3f} ms; ratio {mine_ms / plain_ms:.2f}")
    print(f"on top of the disk: {mine_ms - plain_ms:.3f} ms; allowed in all {ALLOWED_MS} ms")
    print(f"a look whether the study was taken over: {check_us:.1f} us of that")
    raise SystemExit(mine_ms > ALLOWED_MS)


if __name__ == "__main__":
    main()
