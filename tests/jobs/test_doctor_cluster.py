"""Laws of the rows that `doctor --address` shows of a cluster."""

import os
import socket
from pathlib import Path

import pytest

from dexsearch.jobs.checkup import State
from dexsearch.jobs.doctor_cluster import (
    cluster_checks,
    node_and_storage_checks,
    node_checks,
    storage_checks,
    token_checks,
)
from dexsearch.search.preflight import Inspection
from dexsearch.search.preflight_node import Question, look
from dexsearch.search.preflight_report import Finding, NodeReport

STORAGE = "/shared"


def report(n: int) -> NodeReport:
    answer = look(
        Question(storage=None, secret="", name="", dataset=None, digest=None, gpus=False)
    )
    return NodeReport(f"id{n}", f"10.77.0.{n}", f"lab{n}", cpus=8, gpus=2, answer=answer)


def finding(of: NodeReport, about: str, *, is_refusal: bool = True) -> Finding:
    return Finding(of.name, about, f"wrong {about}", f"mend {about}", is_refusal=is_refusal)


def rows(reports: list[NodeReport], *findings: Finding) -> list[tuple[str, State, str | None]]:
    found = Inspection(tuple(reports), findings, 1.0)
    return [(check.name, check.state, check.fix) for check in node_checks(found, STORAGE)]


def test_each_node_that_is_well_has_a_row_and_the_storage_one() -> None:
    assert rows([report(1), report(2)]) == [
        ("node 10.77.0.1 (lab1)", State.OK, None),
        ("node 10.77.0.2 (lab2)", State.OK, None),
        ("storage", State.OK, None),
    ]


def test_each_fault_of_a_node_has_a_row_with_its_fix() -> None:
    one, two = report(1), report(2)
    faults = (finding(two, "torch"), finding(two, "clock", is_refusal=False))
    assert rows([one, two], *faults) == [
        ("node 10.77.0.1 (lab1)", State.OK, None),
        ("node 10.77.0.2 (lab2)", State.PROBLEM, "mend torch"),
        ("node 10.77.0.2 (lab2)", State.WARNING, "mend clock"),
        ("storage", State.OK, None),
    ]


def test_a_storage_that_one_node_does_not_see_is_not_called_well() -> None:
    one = report(1)
    assert rows([one], finding(one, "storage")) == [
        ("node 10.77.0.1 (lab1)", State.PROBLEM, "mend storage")
    ]


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "127.0.0.1:{free}"])
def test_a_cluster_that_cannot_be_joined_is_one_problem_with_its_fix(
    address: str, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (check,) = cluster_checks(address.format(free=port), None, tmp_path)
    assert (check.group, check.name, check.state) == ("cluster", "joining", State.PROBLEM)
    assert check.fix


def test_only_a_refused_stranger_shows_that_a_cluster_asks_for_a_token() -> None:
    def state(outcome: str) -> tuple[State, bool]:
        (check,) = token_checks({"outcome": outcome, "reason": "no answer in 20 s"}, [])
        return check.state, "no answer in 20 s" in check.found

    assert state("refused") == (State.OK, False)
    assert state("answer") == (State.WARNING, False)
    assert state("unknown") == (State.WARNING, True)


def test_a_token_that_others_read_is_no_ok_row() -> None:
    told = ["warning: the token file can be read by everybody: chmod 600 it"]
    (check,) = token_checks({"outcome": "refused"}, told)
    assert (check.state, check.fix) == (State.WARNING, "chmod 600 it")


@pytest.mark.parametrize("place", ["x" * 300, "/proc/nowhere", "mock://x/y", "", "gone"])
def test_a_storage_that_cannot_be_used_is_one_problem_with_its_fix(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers at the address; the storage is looked at before any node is asked."""
    monkeypatch.chdir(tmp_path)
    (check,) = node_and_storage_checks("127.0.0.1:1", place)
    assert (check.name, check.state) == ("storage", State.PROBLEM)
    assert check.fix
    if place != "gone":  # where no node is asked, a folder that is not there yet would be made
        assert list(storage_checks(place)) == [check]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may look into every folder")
def test_a_storage_in_a_closed_folder_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o000)
    (check,) = storage_checks(str(tmp_path / "closed" / "s"))
    assert check.state is State.PROBLEM


def test_without_a_cluster_the_storage_is_checked_from_here(tmp_path: Path) -> None:
    (check,) = storage_checks(str(tmp_path / "new"))
    assert check.state is State.OK
    assert list(tmp_path.iterdir()) == []
