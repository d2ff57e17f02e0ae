"""Hosts on one machine: network namespaces joined by a bridge. Root only.

    bridge  10.A.B.254   this machine, where servers for the hosts may listen
    host 1  10.A.B.1     a namespace with one interface
    host 2  10.A.B.2     ...

Everything carries the number of the process that made it in its name, so that what a killed one
left is found and removed by the next, and nothing of anybody else is touched.
"""

import contextlib
import itertools
import os
import re
import secrets
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_counter = itertools.count()


class Hosts:
    """So many hosts; a context manager that leaves nothing behind."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._key = f"{os.getpid()}{chr(ord('a') + next(_counter) % 26)}"
        self._net = f"10.{64 + secrets.randbelow(128)}.{secrets.randbelow(256)}"

    def address(self, host: int) -> str:
        """Return the address of a host, from 1."""
        return f"{self._net}.{host}"

    @property
    def bridge_address(self) -> str:
        """The address of this machine, as hosts see it."""
        return self.address(254)

    def namespace(self, host: int) -> str:
        """Return the name of a host's namespace."""
        return f"dxlab-{self._key}-{host}"

    def inside(self, host: int) -> list[str]:
        """Return what goes before a command that is to run on a host."""
        return ["ip", "netns", "exec", self.namespace(host)]

    def cut(self, host: int) -> None:
        """Take a host off the network; its processes go on."""
        _ip("link", "set", self._link(host), "down")

    def heal(self, host: int) -> None:
        """Put a host back on the network."""
        _ip("link", "set", self._link(host), "up")

    def processes(self, host: int) -> dict[int, str]:
        """Return what runs on a host: process number -> command line."""
        return {pid: command_line(pid) for pid in _processes(self.namespace(host))}

    def __enter__(self) -> Self:
        """Make the hosts."""
        remove_leftovers()
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("addr", "add", f"{self.bridge_address}/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
            for host in range(1, self.n + 1):
                self._make(host)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every process of the hosts and remove them."""
        self._remove()

    @property
    def _bridge(self) -> str:
        return f"dx{self._key}b"

    def _link(self, host: int) -> str:
        return f"dx{self._key}v{host}"

    def _make(self, host: int) -> None:
        name, link = self.namespace(host), self._link(host)
        _ip("netns", "add", name)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", link, "master", self._bridge)
        _ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", name, "link", "set", device, "up")
        _ip("link", "set", link, "up")

    def _remove(self) -> None:
        for host in range(1, self.n + 1):
            _remove_namespace(self.namespace(host))
            _ip("link", "del", self._link(host), check=False)
        _ip("link", "del", self._bridge, check=False)


def remove_leftovers() -> None:
    """Remove hosts and bridges of processes that have ended without doing so."""
    names = _ip("netns", "list").split()
    for name in names:
        made = re.fullmatch(r"dxlab-(\d+)[a-z]-\d+", name)
        if made and not Path(f"/proc/{made[1]}").exists():
            _remove_namespace(name)
    for name in os.listdir("/sys/class/net"):
        made = re.fullmatch(r"dx(\d+)[a-z](b|v\d+)", name)
        if made and not Path(f"/proc/{made[1]}").exists():
            _ip("link", "del", name, check=False)


def command_line(pid: int) -> str:
    """Return the command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def _remove_namespace(name: str) -> None:
    for pid in _processes(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _ip("netns", "del", name, check=False)


def _processes(name: str) -> list[int]:
    return [int(pid) for pid in _ip("netns", "pids", name, check=False).split()]


def _ip(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
