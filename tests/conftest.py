"""What every room's tests share."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from dexsearch.data.store import Dataset
    from tests.s3_server import S3Server

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


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
