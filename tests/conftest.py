"""What every room's tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is absent."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DEXSEARCH_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}; set DEXSEARCH_SHARED_DATA")
    return folder
