"""What every room's tests share."""

import faulthandler
import os
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from dexsearch.data.store import Dataset
    from tests.s3_server import S3Server

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")

HANGS_AFTER_S = 600
"""For the setup, the call or the teardown of a slow test; the longest takes 90 s."""


@contextmanager
def failing_where_it_hangs(item: pytest.Item) -> Iterator[None]:
    """Fail one phase of a slow test that does not end, so that the others still run.

    An alarm in this process and no kill of it: fixtures are torn down, so no server or cluster of
    the test stays behind, and no worker of pytest-xdist has to be replaced.
    """
    marks = {mark.name for mark in item.iter_markers()}
    if "lab" in marks or not marks & {"slow", "cluster"}:
        yield
        return

    def fail(number: int, frame: FrameType | None) -> None:
        faulthandler.dump_traceback(sys.__stderr__)
        pytest.fail(f"{item.nodeid} hangs: this phase has not ended after {HANGS_AFTER_S} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(HANGS_AFTER_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    with failing_where_it_hangs(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with failing_where_it_hangs(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    with failing_where_it_hangs(item):
        return (yield)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is absent."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DEXSEARCH_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}; set DEXSEARCH_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def exposed_cohort(tmp_path_factory: pytest.TempPathFactory) -> "Dataset":
    """Three phantoms, three views each of 32 px: simulated exposures at 120 kVp, read only."""
    from dexsearch.config.data import PhantomDataConfig
    from dexsearch.data.generate import generate_phantom

    config = PhantomDataConfig(subjects=3, poses=3, size_px=32, seed=7)
    return generate_phantom(tmp_path_factory.mktemp("exposed") / "cohort", config, map_tasks=map)


@pytest.fixture(scope="session")
def s3() -> Iterator["S3Server"]:
    """An S3 server for the session; the keys of its clients are in the environment."""
    from tests.s3_server import KEYS, s3_server

    with pytest.MonkeyPatch.context() as patch, s3_server() as server:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        yield server
