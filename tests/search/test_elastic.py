"""A search on a cluster whose nodes come and go, and which does not see the dataset."""

from pathlib import Path

import pytest
from clusters import ClusterSearch
from searching import SPACE, check_study

from dexsearch.data.store import Dataset
from dexsearch.ledger.study import StudyRecord

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

TRIALS, EPOCHS = 8, 9


def values_by_node(record: StudyRecord, key: str) -> dict[str, set[str]]:
    """Return the values that a key of the records had on each node."""
    found: dict[str, set[str]] = {}
    for trial in record.trials:
        for epoch in trial.epochs.values():
            found.setdefault(epoch["node"], set()).add(str(epoch[key]))
    return found


def test_a_node_that_joins_takes_trials_and_one_that_is_lost_costs_none(
    exposed_cohort: Dataset, tmp_path: Path
) -> None:
    dataset = tmp_path / "cohort"
    dataset.symlink_to(exposed_cohort.path)
    folder = tmp_path / "s"
    answer = ClusterSearch(
        space={**SPACE, "trials": TRIALS, "pruner": {"kind": "none"}},
        folder=str(folder), scenario="told_places", epoch_s=0.3,
        nodes={"first": {"num_cpus": 2}, "second": {"num_cpus": 2}}, begin=("first",),
        then=((4, "add", "second"), (30, "remove", "first")),
        dataset=str(dataset), digest=exposed_cohort.manifest.digest,
    ).run()  # fmt: skip
    assert answer["exit_code"] == 0, answer
    assert not dataset.exists()
    record = check_study(folder, trials=TRIALS, epochs=EPOCHS)
    assert {trial.state for trial in record.trials} == {"complete"}

    processes = values_by_node(record, "process")
    assert set(processes) == {"first", "second"}, "the node that joined took no trial"
    assert {len(found) for found in processes.values()} >= {2}, "a node ran one trial at a time"
    moved = [t for t in record.trials if len({e["node"] for e in t.epochs.values()}) == 2]
    assert moved, "no trial of the lost node went on elsewhere"

    places = values_by_node(record, "place")
    assert [len(found) for found in places.values()] == [1, 1], "an array came more than once"
    assert places["first"] != places["second"]
    assert all("plasma" in place for found in places.values() for place in found)
    digests = values_by_node(record, "digest")
    assert set.union(*digests.values()) == {exposed_cohort.manifest.digest}
