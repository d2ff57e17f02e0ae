"""The fault lab: `make lab`, or `make lab CASE=partition`; it writes docs/faults.md."""

import contextlib
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
TOKEN = "7f" * 32
FRESH = "fresh"
_KINDS = ("steady", "locked", FRESH)
ROWS = pytest.StashKey[dict[str, Row]]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin the row of a case."""
    name = item.name.removeprefix("test_")
    item.config.stash.setdefault(ROWS, {})[name] = Row(BY_NAME[name])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring cases together that share a cluster; other tests keep their places."""
    places = [n for n, item in enumerate(items) if item.path.is_relative_to(Path(__file__).parent)]
    cases = sorted((items[n] for n in places), key=lambda item: _KINDS.index(_kind(item)))
    for place, case in zip(places, cases, strict=True):
        items[place] = case


def _kind(item: pytest.Item) -> str:
    names = getattr(item, "fixturenames", ())
    return next((kind for kind in _KINDS if kind in names), FRESH)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:  # noqa: ANN401
    """Write the row of a case, with why it failed; one that was interrupted has none."""
    report = yield
    row = item.config.stash[ROWS][item.name.removeprefix("test_")]
    if report.when == "call" or report.failed:
        row.is_over, row.load = True, os.getloadavg()[0]
    if report.failed and row.failure is None and call.excinfo is not None:
        told = " ".join(str(call.excinfo.value).split())
        row.failure = f"{call.excinfo.typename}: {told[:400]}"
    if report.when == "teardown" and row.is_over:
        write_rows(Path(os.environ.get("DEXSEARCH_LAB_TABLE", TABLE)), [row])
    return report


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


class Clusters:
    """One cluster at a time, kept as long as cases ask for the same kind."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._kind = ""
        self._cluster: LabCluster | None = None

    def of_kind(self, kind: str, n: int = 3, **environment: str) -> LabCluster:
        """Return the running cluster of a kind, or a new one; `fresh` is always new."""
        if self._cluster is None or kind != self._kind or kind == FRESH:
            self.stop()
            self._cluster = self._open.enter_context(lab_cluster(n, **environment))
            self._kind = kind
        return self._cluster

    def stop(self) -> None:
        """Stop the running one."""
        self._open.close()
        self._cluster = None


@pytest.fixture(scope="session")
def clusters() -> Iterator[Clusters]:
    """What runs, one at a time."""
    running = Clusters()
    yield running
    running.stop()


@pytest.fixture
def steady(clusters: Clusters) -> LabCluster:
    """Three nodes for cases that leave them alive."""
    return clusters.of_kind("steady")


@pytest.fixture
def locked(clusters: Clusters) -> LabCluster:
    """Two nodes that ask for a token."""
    return clusters.of_kind("locked", 2, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)


@pytest.fixture
def fresh(clusters: Clusters) -> LabCluster:
    """Four nodes for one case, which may kill them; two trials leave one of them idle."""
    return clusters.of_kind(FRESH, 4)


@pytest.fixture
def new_search(tmp_path: Path, dataset: Path) -> Iterator[NewSearch]:
    """Make searches on a cluster, driven from its head; end what still runs of them.

    No event that was once in one of their ledgers may be gone at the end, whatever the fault was.
    """
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
    for search in made:
        search.look_back()
