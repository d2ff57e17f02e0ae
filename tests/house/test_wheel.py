"""What is installed is what a user without the source needs."""

import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


def test_the_wheel_contains_spaces_and_tables(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    for space in (ROOT / "search_spaces").glob("*.yaml"):
        assert f"dexsearch/search_spaces/{space.name}" in names
    for table in (ROOT / "dexsearch" / "physics" / "tables").iterdir():
        assert f"dexsearch/physics/tables/{table.name}" in names
    for part in ("report.html", "report.css", "sort.js"):
        assert f"dexsearch/report/{part}" in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
