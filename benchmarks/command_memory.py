"""Wall time and peak memory of a command with all processes that it starts (Linux).

    python benchmarks/command_memory.py make demo

Memory is the sum of proportional set sizes (PSS), so that pages shared by Ray's processes count
once; sampled twice a second. The command's own exit code is passed on.
"""

import subprocess
import sys
import time
from pathlib import Path

INTERVAL_S = 0.5


def main() -> int:
    """Run the command of the arguments and print what it took."""
    begin = time.monotonic()
    peak_bytes = 0
    members: set[int] = set()
    with subprocess.Popen(sys.argv[1:]) as command:
        members.add(command.pid)
        while command.poll() is None:
            members |= _descendants(members)
            peak_bytes = max(peak_bytes, sum(map(_pss_bytes, members)))
            time.sleep(INTERVAL_S)
    seconds = time.monotonic() - begin
    print(f"{' '.join(sys.argv[1:])}: {seconds:.0f} s, peak {peak_bytes / 2**30:.2f} GiB")
    return command.returncode


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
