"""Leases of other machines and processes, for tests."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import lease_processes

from dexsearch.search.lease_file import Claim, new_claim, try_to_claim
from dexsearch.search.process_identity import ProcessIdentity

PROGRAM = [sys.executable, lease_processes.__file__]
ELSEWHERE = ProcessIdentity("node7", "another boot", 4242, 1)


def silent(text: str) -> None:
    """Tell nobody."""


def claimed_by(folder: Path, process: ProcessIdentity, token: int = 1) -> Claim:
    claim = replace(new_claim(token), process=process)
    own = try_to_claim(folder, claim)
    assert own is not None
    own.close()
    return claim


@contextmanager
def running(command: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [*PROGRAM, command, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.01)
