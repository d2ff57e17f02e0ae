"""A search on a cluster whose nodes come and go, and which does not see the dataset."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cluster_search import ClusterSearch
from searching import SPACE, check_study

import dexsearch
from dexsearch.data.store import Dataset
from dexsearch.ledger.log import read_events
from dexsearch.ledger.study import StudyRecord, read_study

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

TRIALS, EPOCHS = 5, 18


def values_by_node(record: StudyRecord, key: str) -> dict[str, set[str]]:
    """Return the values that a key of the records had on each node."""
    found: dict[str, set[str]] = {}
    for trial in record.trials:
        for epoch in trial.epochs.values():
            found.setdefault(epoch["node"], set()).add(str(epoch[key]))
    return found


def n_epochs(folder: Path) -> int:
    events = read_events(folder / "ledger.jsonl")
    return sum(event["event"] == "epoch" for event in events)


def wait_for_epochs(process: subprocess.Popen[str], folder: Path, n: int) -> None:
    deadline = time.monotonic() + 240
    while not (folder / "ledger.jsonl").exists() or n_epochs(folder) < n:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the search does not get going"
        time.sleep(0.05)


def end_with_all_nodes(process: subprocess.Popen[str]) -> None:
    """Kill a driver and every process of Ray that names the scratch folder of its cluster."""
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while found := [pid for pid in map(int, all_pids()) if f"dexray-{process.pid}-" in told(pid)]:
        assert time.monotonic() < deadline, [told(pid) for pid in found]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def all_pids() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]


def told(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def test_a_node_that_joins_takes_trials_and_one_that_is_lost_costs_none(
    exposed_cohort: Dataset, tmp_path: Path
) -> None:
    dataset = tmp_path / "cohort"
    dataset.symlink_to(exposed_cohort.path)
    folder = tmp_path / "s"
    answer = ClusterSearch(
        space={**SPACE, "trials": TRIALS, "epochs": EPOCHS, "pruner": {"kind": "none"}},
        folder=str(folder), scenario="told_places", epoch_s=0.2,
        nodes={"first": {"num_cpus": 2}, "second": {"num_cpus": 2}}, begin=("first",),
        then=((4, "add", "second"), (24, "remove", "first")),
        dataset=str(dataset), digest=exposed_cohort.manifest.digest,
    ).run()  # fmt: skip
    assert answer["exit_code"] == 0, answer
    assert not dataset.exists()
    assert "the cluster has room for 4 trials at once now, 2 before" in answer["messages"]
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


def edited_sources(tmp_path: Path) -> str:
    """Return a folder with a dexsearch of other sources than ours."""
    package = Path(dexsearch.__file__).parent
    edited = tmp_path / "edited" / "dexsearch"
    shutil.copytree(package, edited, ignore=shutil.ignore_patterns("__pycache__"))
    (edited / "wording.py").write_text((package / "wording.py").read_text() + "\nNEWER = True\n")
    return str(edited.parent)


def test_nodes_that_join_and_cannot_run_trials_are_told_once_and_get_none(
    exposed_cohort: Dataset, tmp_path: Path
) -> None:
    """One has other sources of dexsearch; one passes what it is asked, and cannot open images."""
    edited = edited_sources(tmp_path)
    folder, trials = tmp_path / "s", 6
    answer = ClusterSearch(
        space={**SPACE, "trials": trials, "epochs": 30, "pruner": {"kind": "none"}},
        folder=str(folder), scenario="strangers_join",
        nodes={
            "first": {"num_cpus": 1}, "blind": {"num_cpus": 1}, "good": {"num_cpus": 1},
            "edited": {"num_cpus": 1, "env_vars": {"PYTHONPATH": edited}},
        },
        begin=("first",), then=((3, "add", "edited"), (4, "add", "blind"), (5, "add", "good")),
        dataset=str(exposed_cohort.path), digest=exposed_cohort.manifest.digest,
    ).run()  # fmt: skip
    assert answer["exit_code"] == 0, answer
    told = answer["messages"]
    assert [line.partition("; ")[2] for line in told if "has other sources" in line] == [
        "install dexsearch 0.1.0 from the same sources there, or give --ship-code"
    ], told
    assert told.count(
        "no trial goes to that node any more: on blind: the images cannot be opened"
    ) == 1, told  # fmt: skip
    record = check_study(folder, trials=trials, epochs=30)
    assert {trial.state for trial in record.trials} == {"complete"}
    assert set(values_by_node(record, "process")) == {"first", "good"}
    assert record.setbacks == {"unfit": 1}
    assert not list(folder.glob(".preflight-*"))


def test_a_search_begins_beside_no_bad_node_and_once_begun_goes_on_beside_one(
    exposed_cohort: Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    bad = {"num_cpus": 1, "env_vars": {"PYTHONPATH": edited_sources(tmp_path)}}
    beside = ClusterSearch(
        space={**SPACE, "trials": 2, "epochs": 4, "pruner": {"kind": "none"}},
        folder=str(folder), scenario="strangers_join",
        nodes={"good": {"num_cpus": 1}, "bad": bad}, begin=("good", "bad"),
        dataset=str(exposed_cohort.path), digest=exposed_cohort.manifest.digest,
    )  # fmt: skip
    answer = beside.run()
    assert answer["exit_code"] == 4, answer
    assert not read_study(folder).trials

    process = replace(beside, begin=("good",)).started()
    try:
        wait_for_epochs(process, folder, 1)
    finally:
        end_with_all_nodes(process)
    answer = beside.run()
    assert answer["exit_code"] == 0, answer
    told = [line for line in answer["messages"] if "has other sources" in line]
    assert len(told) == 1, answer["messages"]
    assert told[0].startswith("warning: ")
    assert told[0].endswith("; it gets no trials until then")
    record = check_study(folder, trials=2, epochs=4)
    assert set(values_by_node(record, "process")) == {"good"}


def test_the_same_command_on_a_new_cluster_is_the_same_search(
    exposed_cohort: Dataset, tmp_path: Path
) -> None:
    dataset, folder = tmp_path / "cohort", tmp_path / "s"
    search = ClusterSearch(
        space={**SPACE, "trials": 4, "epochs": 9, "pruner": {"kind": "none"}},
        folder=str(folder), scenario="told_places", epoch_s=0.3,
        nodes={"a": {"num_cpus": 1}, "b": {"num_cpus": 1}}, begin=("a", "b"),
        dataset=str(dataset), digest=exposed_cohort.manifest.digest,
    )  # fmt: skip
    dataset.symlink_to(exposed_cohort.path)
    process = search.started()
    try:
        wait_for_epochs(process, folder, 5)
    finally:
        end_with_all_nodes(process)
    before = read_study(folder)
    assert before.in_state("running")

    dataset.symlink_to(exposed_cohort.path)
    answer = search.run()
    assert answer["exit_code"] == 0, answer
    record = check_study(folder, trials=4, epochs=9)
    assert {trial.state for trial in record.trials} == {"complete"}
    for earlier, now in zip(before.trials, record.trials, strict=False):
        assert (earlier.params, earlier.config) == (now.params, now.config)
        assert earlier.epochs.items() <= now.epochs.items(), "an epoch was recorded anew"
