"""What is searched on the clusters of tests; workers import it by name, so no pytest."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from invented_curves import rising

from dexsearch.data.pairs import SubsetImages
from dexsearch.errors import DataError
from dexsearch.search.backend import Backend
from dexsearch.search.continuation import StudyRequest
from dexsearch.search.data_source import DataSource, FolderSource
from dexsearch.search.site import Site
from dexsearch.search.training_backend import training_backend
from dexsearch.search.trial import Assignment, Record, TrialFunction


def place_in_memory(array: np.ndarray[Any, Any]) -> str:
    """Name the shared memory that an array lies in: two processes with one copy say the same."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, offset, device, inode, *file = line.split()
        low, high = (int(end, 16) for end in span.split("-"))
        if low <= address < high:
            return f"{device} {inode} {int(offset, 16) + address - low} {' '.join(file)}"
    raise LookupError(f"no memory at {address:#x}")


class ToldPlaces:
    """An invented curve; each record says node, process and where the images lie."""

    def __init__(self, source: DataSource) -> None:
        self.source = source

    def __call__(self, assignment: Assignment) -> Iterator[Record]:
        images = self.source.open()
        place = place_in_memory(images.arrays("train").input)
        digest = images.manifest.digest
        for record in rising(assignment):
            yield {
                **record, "node": os.environ["DEXSEARCH_TEST_NODE"], "process": os.getpid(),
                "place": place, "digest": digest,
            }  # fmt: skip


def hidden_after(
    prepare: Callable[[TrialFunction], TrialFunction], dataset: Path
) -> Callable[[TrialFunction], TrialFunction]:
    """Ship the images, then take the folder away, so that no node sees it."""

    def prepared(function: TrialFunction) -> TrialFunction:
        function = prepare(function)
        if dataset.exists():
            dataset.rename(dataset.with_suffix(".hidden"))
        return function

    return prepared


def told_places(request: StudyRequest, folder: Path, site: Site) -> Backend:
    """The images are nowhere but where the driver put them."""
    from dexsearch.search.data_shipping import shipped
    from dexsearch.search.ray_backend import RayBackend

    source = FolderSource(request.dataset, request.dataset_digest)
    return RayBackend(
        ToldPlaces(source), request.space.resources, folder / "tune", address=site.address,
        prepare=hidden_after(lambda _: ToldPlaces(shipped(source)), request.dataset),
    )  # fmt: skip


class UnreadableOn:
    """Images that cannot be opened on one node; which nodes have tried is seen in a folder."""

    def __init__(self, node: str, source: DataSource, came: Path) -> None:
        self._node, self._source, self._came = node, source, came

    def open(self) -> SubsetImages:
        here = os.environ["DEXSEARCH_TEST_NODE"]
        self._came.mkdir(parents=True, exist_ok=True)
        (self._came / here).touch()
        if here == self._node:
            raise DataError(f"on {self._node}: the images cannot be opened")
        return self._source.open()


class UntilAllCame(ToldPlaces):
    """Trains slowly until three nodes have had a trial, however long they take to start one."""

    def __init__(self, source: DataSource, came: Path) -> None:
        super().__init__(source)
        self._came = came

    def __call__(self, assignment: Assignment) -> Iterator[Record]:
        for record in super().__call__(assignment):
            deadline = time.monotonic() + 2.0
            while len(list(self._came.iterdir())) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            yield record


def strangers_join(request: StudyRequest, folder: Path, site: Site) -> Backend:
    """Nodes are asked as for real training; on that called `blind` images cannot be opened."""
    backend: Any = training_backend(request, folder, site)
    came = folder.with_name("came")
    source = FolderSource(request.dataset, request.dataset_digest)
    function = UntilAllCame(UnreadableOn("blind", source, came), came)
    return replace(backend, function=function, prepare=lambda function: function)  # type: ignore[no-any-return]


def training(request: StudyRequest, folder: Path, site: Site) -> Backend:
    """Real training."""
    return training_backend(request, folder, site)


def training_far_away(request: StudyRequest, folder: Path, site: Site) -> Backend:
    """Real training where no node sees the dataset's folder."""
    backend: Any = training_backend(request, folder, site)
    return replace(backend, prepare=hidden_after(backend.prepare, request.dataset))  # type: ignore[no-any-return]


BACKENDS: dict[str, Callable[[StudyRequest, Path, Site], Backend]] = {
    function.__name__: function
    for function in (told_places, strangers_join, training, training_far_away)
}
