"""Become a command that is stopped when its parent ends, however it ends; standard library only.

    python tied.py PARENT COMMAND ARGUMENT...

Linux tells the command by SIGTERM; elsewhere only a parent that stops it itself does.
"""

import ctypes
import os
import signal
import sys

TOLD_OF_DEATH = 1
"""PR_SET_PDEATHSIG of Linux; it outlives the exec below."""


def main() -> None:
    """Tie this process to its parent and replace it by the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(TOLD_OF_DEATH, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before it could be asked
            raise SystemExit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
