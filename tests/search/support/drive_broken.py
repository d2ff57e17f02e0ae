"""Search on a cluster with a node where no trial can begin: `drive_broken.py REQUEST`.

As `drive_cluster.py`, with a scenario of its own: a library is broken on the node called `bad`.
"""

import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import drive_cluster
import scenarios
from invented_curves import rising

from dexsearch.search.backend import Backend
from dexsearch.search.continuation import StudyRequest
from dexsearch.search.site import Site
from dexsearch.search.training_backend import training_backend
from dexsearch.search.trial import Assignment, Record

STARTS = 6
"""Of four trials all but one, each begun twice."""


class BrokenOnBad:
    """Cannot be loaded on one node; trains slowly elsewhere until that was tried often enough."""

    def __init__(self, came: Path) -> None:
        self.came = came

    def __call__(self, assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            deadline = time.monotonic() + 2.0
            while len(list(self.came.iterdir())) < STARTS and time.monotonic() < deadline:
                time.sleep(0.05)
            yield {**record, "node": os.environ["DEXSEARCH_TEST_NODE"]}

    def __deepcopy__(self, memo: object) -> "BrokenOnBad":
        return self

    def __reduce__(self) -> tuple[Callable[[Path], "BrokenOnBad"], tuple[Path]]:
        return loaded, (self.came,)


def loaded(came: Path) -> BrokenOnBad:
    if os.environ.get("DEXSEARCH_TEST_NODE") == "bad":
        (came / uuid.uuid4().hex).touch()
        raise ImportError("libcublas.so.12: cannot open shared object file")
    return BrokenOnBad(came)


def broken_on_bad(request: StudyRequest, folder: Path, site: Site) -> Backend:
    backend: Any = training_backend(request, folder, site)
    came = folder.with_name("came")
    came.mkdir()
    function = BrokenOnBad(came)
    return replace(backend, function=function, prepare=lambda function: function)  # type: ignore[no-any-return]


if __name__ == "__main__":
    scenarios.BACKENDS["broken_on_bad"] = broken_on_bad
    drive_cluster.main(sys.argv[1])
