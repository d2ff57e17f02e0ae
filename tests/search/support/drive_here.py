"""Run one search in this process, without Ray: `drive_here.py REQUEST.json`, to be signalled.

Hearts beat and watchers look at the pace that the request names; its trials wait at a gate.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from invented_curves import rising

from dexsearch.config.space import SearchSpace
from dexsearch.errors import DexSearchError
from dexsearch.search import lease
from dexsearch.search.displays import PlainProgress
from dexsearch.search.in_process import InProcessBackend
from dexsearch.search.signals import told_interruptions
from dexsearch.search.site import Site
from dexsearch.search.study import run_study
from dexsearch.search.trial import Assignment, Record, TrialFunction

GATED_FROM = 3
"""The epoch that no trial reaches before the gate is there."""


def gated(gate: Path) -> TrialFunction:
    """Return trials that wait, before an epoch, until a file is there."""

    def wait(assignment: Assignment) -> Iterator[Record]:
        for record in rising(assignment):
            while record["epoch"] >= GATED_FROM and not gate.exists():
                time.sleep(0.01)
            yield record

    return wait


def main(request_path: str) -> int:
    request = json.loads(Path(request_path).read_text())
    lease.PACE = lease.Pace(**request["pace"])
    folder = Path(request["folder"])
    try:
        with told_interruptions("the same"):
            outcome = run_study(
                SearchSpace.model_validate(request["space"]),
                study=folder.name, folder=folder, dataset=Path("datasets/x"),
                dataset_digest="digest", size_px=(64, 64), progress=PlainProgress(sys.stderr),
                backend=InProcessBackend(gated(Path(request["gate"]))),
                site=Site(takeover=request["takeover"]),
            )  # fmt: skip
    except DexSearchError as error:
        sys.stderr.write(f"error: {error}\nhint: {error.hint}\n")
        return error.exit_code
    return outcome.interrupted or 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
