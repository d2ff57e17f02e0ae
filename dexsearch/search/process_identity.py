"""Which process is it, and does it live? Told without comparing clocks, on any machine.

A process is named by its host, by the boot of that host together with the space that its number
is counted in (containers on one machine count for themselves), by its number and by when it
began, in ticks since that boot.
"""

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Life = Literal["alive", "suspended", "dead", "elsewhere"]
_PROC = Path("/proc")
_STATE, _BEGAN = 0, 19  # places in /proc/PID/stat, counted after the name of the program


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process such that no other one, of this machine or another, is taken for it."""

    host: str
    boot: str
    pid: int
    began: int
    """In ticks since the boot; 0 where the system does not tell."""

    def __str__(self) -> str:
        """Return the words that a lock file has too."""
        return f"process {self.pid} on {self.host}"

    def life(self) -> Life:
        """Say whether the process lives, as far as can be told here.

        One that was suspended is still alive. Whatever is not seen to be dead counts as alive.
        """
        if (self.host, self.boot) != (socket.gethostname(), _boot()):
            return "elsewhere"
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return "dead"
        except PermissionError:
            pass  # somebody else's process, of which /proc may tell nothing
        found = _stat(self.pid)
        if found is None:
            return "alive"
        state, began = found
        if began != self.began or state in "ZX":
            return "dead"
        return "suspended" if state in "Tt" else "alive"


def this_process() -> ProcessIdentity:
    """Return the identity of the process that asks."""
    pid = os.getpid()
    _, began = _stat(pid) or ("", 0)
    return ProcessIdentity(socket.gethostname(), _boot(), pid, began)


def _boot() -> str:
    """Name this boot and the space of process numbers; the machine alone where there is no /proc.

    On such a machine a process of before a restart may be taken for one that lives.
    """
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return f"{uuid.getnode():012x}"


def _stat(pid: int) -> tuple[str, int] | None:
    """Return the state letter of a process and when it began; None where that is not told."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields[_STATE], int(fields[_BEGAN])
