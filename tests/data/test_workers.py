"""Work on several processes: order, failures, and nothing left behind."""

import multiprocessing
import os
import time
from itertools import islice

import pytest

from dexsearch.data.workers import map_in_processes
from dexsearch.errors import EnvironmentFault


def process_and_square(number: int) -> tuple[int, int]:
    return os.getpid(), number * number


def die(_: int) -> int:
    os._exit(9)


def refuse(number: int) -> int:
    raise ValueError(f"not {number}")


def nothing_left_behind() -> bool:
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not multiprocessing.active_children()


def test_results_come_in_order_from_other_processes() -> None:
    results = list(map_in_processes(process_and_square, range(12), n_workers=2))
    assert [square for _, square in results] == [n * n for n in range(12)]
    assert os.getpid() not in {process for process, _ in results}
    assert nothing_left_behind()


def test_one_worker_is_this_process() -> None:
    results = list(map_in_processes(process_and_square, range(3), n_workers=1))
    assert {process for process, _ in results} == {os.getpid()}


def test_closing_early_ends_the_workers() -> None:
    results = map_in_processes(process_and_square, range(1000), n_workers=2)
    assert len(list(islice(results, 2))) == 2
    results.close()
    assert nothing_left_behind()


def test_a_worker_that_dies_is_told_in_one_line() -> None:
    with pytest.raises(EnvironmentFault, match="worker process died"):
        list(map_in_processes(die, range(4), n_workers=2))
    assert nothing_left_behind()


def test_an_error_of_a_task_is_passed_on() -> None:
    with pytest.raises(ValueError, match="not 0"):
        list(map_in_processes(refuse, range(4), n_workers=2))
    assert nothing_left_behind()
