"""Trials that Tune is told to forget before they have a process; a real Ray, and a real Tuner."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from nodes import SUPPORT
from searching import ray_environment

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def test_tune_ends_well_although_a_trial_was_taken_back_before_its_process_began(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "drive_taken_back.py"), str(tmp_path / "tune")],
        env={**ray_environment(tmp_path / "home"), "RAY_AUTH_MODE": "token"},
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["taken_back"] >= 2
    assert told["results"] == 3
