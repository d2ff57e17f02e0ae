"""Waiting for what a search writes that runs in a process of its own."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dexsearch.ledger.log import read_events


def n_events(folder: Path) -> int:
    return len(read_events(folder / "ledger.jsonl"))


def n_epochs(folder: Path) -> int:
    return sum(event["event"] == "epoch" for event in read_events(folder / "ledger.jsonl"))


def wait_until(process: subprocess.Popen[str], is_reached: Callable[[], bool]) -> None:
    """Wait for what a running search writes."""
    deadline = time.monotonic() + 90
    while not is_reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the search does not get going"
        time.sleep(0.02)


def ended(process: subprocess.Popen[str], *, timeout_s: float) -> tuple[str, str]:
    """Wait for a search; kill it if it does not end."""
    try:
        return process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"still running after {timeout_s} s: {process.communicate()}")
