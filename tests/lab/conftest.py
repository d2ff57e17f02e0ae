"""The fault lab: `make lab`, or `make lab CASE=partition`; it writes docs/faults.md."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from clusters import LabCluster, lab_cluster
from faults import BY_NAME
from searches import NewSearch, Search
from table import Row, write_rows

TABLE = Path(__file__).parents[2] / "docs" / "faults.md"
ROWS = pytest.StashKey[dict[str, Row]]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin the row of a case."""
    name = item.name.removeprefix("test_")
    item.config.stash.setdefault(ROWS, {})[name] = Row(BY_NAME[name])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:  # noqa: ANN401
    """Keep in its row whether a case failed and why; one that was interrupted has no row."""
    report = yield
    row = item.config.stash[ROWS][item.name.removeprefix("test_")]
    if report.when == "call" or report.failed:
        row.is_over, row.load = True, os.getloadavg()[0]
    if report.failed and row.failure is None and call.excinfo is not None:
        told = " ".join(str(call.excinfo.value).split())
        row.failure = f"{call.excinfo.typename}: {told[:400]}"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the table."""
    rows = [row for row in session.config.stash.get(ROWS, {}).values() if row.is_over]
    if rows:
        write_rows(Path(os.environ.get("DEXSEARCH_LAB_TABLE", TABLE)), rows)


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        pytest.skip("the lab makes network namespaces: it needs root on Linux")


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    """The row of this case."""
    return request.config.stash[ROWS][request.node.name.removeprefix("test_")]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight phantoms of 32 px."""
    from dexsearch.config.data import PhantomDataConfig
    from dexsearch.data.generate import generate_phantom

    config = PhantomDataConfig(subjects=8, poses=3, size_px=32, seed=3)
    return generate_phantom(tmp_path_factory.mktemp("data") / "cohort", config, map_tasks=map).path


@pytest.fixture(scope="session")
def steady() -> Iterator[LabCluster]:
    """Three nodes for all cases that leave them alive."""
    with lab_cluster(3) as cluster:
        yield cluster


@pytest.fixture
def fresh() -> Iterator[LabCluster]:
    """Three nodes for one case, which may kill them."""
    with lab_cluster(3) as cluster:
        yield cluster


@pytest.fixture
def new_search(tmp_path: Path, dataset: Path) -> Iterator[NewSearch]:
    """Make searches on a cluster, driven from its head; end what still runs of them."""
    made: list[Search] = []

    def make(cluster: LabCluster, *, host: int = 1, **changes: object) -> Search:
        search = Search.made(
            tmp_path / f"search-{len(made)}", dataset, cluster.address,
            before=cluster.hosts.inside(host), environment=cluster.environment, **changes,
        )  # fmt: skip
        made.append(search)
        return search

    yield make
    for search in made:
        search.end_all()
