"""Searches with invented curves, on either backend; the helpers are in support/."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from searching import SearchRunner, run_in_process, run_on_ray


@pytest.fixture(
    params=[
        "in_process",
        pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.cluster]),
    ]
)
def search(request: pytest.FixtureRequest) -> SearchRunner:
    return run_in_process if request.param == "in_process" else run_on_ray
