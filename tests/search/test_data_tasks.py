"""Tasks of data generation on a Ray of our own: order, errors, and a clean end."""

import os
import subprocess
import sys

import pytest

from dexsearch.errors import DataError, EnvironmentFault
from dexsearch.search.data_tasks import ENVIRONMENT, map_on_ray


def process_and_square(number: int) -> tuple[int, int]:
    return os.getpid(), number * number


def refuse(number: int) -> int:
    raise DataError(f"image {number} is no image", hint="mend it")


def fail(number: int) -> int:
    raise KeyError(number)


def test_nothing_to_do_starts_no_ray() -> None:
    assert list(map_on_ray(process_and_square, [], address="127.0.0.1:1")) == []


def test_a_dead_address_is_refused() -> None:
    with pytest.raises(EnvironmentFault, match="no Ray cluster answers"):
        list(map_on_ray(process_and_square, [1], address="127.0.0.1:1"))


def test_the_process_of_a_task_does_not_import_what_only_trials_need() -> None:
    code = "from dexsearch.search.warm_up import import_training as go; go(); import sys; "
    done = subprocess.run(
        [sys.executable, "-c", f"{code} print('torch' in sys.modules)"],
        env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"


@pytest.mark.cluster
def test_results_come_in_order_from_other_processes() -> None:
    results = list(map_on_ray(process_and_square, range(9), address=None))
    assert [square for _, square in results] == [n * n for n in range(9)]
    assert os.getpid() not in {process for process, _ in results}


@pytest.mark.cluster
def test_what_a_task_raises_arrives_as_it_was() -> None:
    with pytest.raises(DataError, match=r"^image 0 is no image$") as refused:
        list(map_on_ray(refuse, range(3), address=None))
    assert refused.value.hint == "mend it"
    with pytest.raises(EnvironmentFault, match="KeyError: 0"):
        list(map_on_ray(fail, range(3), address=None))
