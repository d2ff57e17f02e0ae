"""Wall time and peak memory of a command with all processes that it starts (Linux).

    python benchmarks/command_memory.py make demo

Memory is the sum of proportional set sizes (PSS), so that pages shared by Ray's processes count
once; sampled twice a second. The command's own exit code is passed on.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 0.5


@dataclass(frozen=True, slots=True)
class Measured:
    """What a command took."""

    seconds: float
    peak_gib: float
    exit_code: int


def measured(command: Sequence[str]) -> Measured:
    """Run a command to its end and look at its memory twice a second."""
    begin = time.monotonic()
    peak_bytes = 0
    members: set[int] = set()
    with subprocess.Popen(command) as process:
        members.add(process.pid)
        while process.poll() is None:
            members |= _descendants(members)
            peak_bytes = max(peak_bytes, sum(map(_pss_bytes, members)))
            time.sleep(INTERVAL_S)
    return Measured(time.monotonic() - begin, peak_bytes / 2**30, process.returncode)


def main() -> int:
    """Run the command of the arguments and print what it took."""
    took = measured(sys.argv[1:])
    print(f"{' '.join(sys.argv[1:])}: {took.seconds:.0f} s, peak {took.peak_gib:.2f} GiB")
    return took.exit_code


def _descendants(members: set[int]) -> set[int]:
    """Return the processes whose parent, or parent's parent, is a member."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = set(members)
    while new := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= new
    return found - members


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    sys.exit(main())
