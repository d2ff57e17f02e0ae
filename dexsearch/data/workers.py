"""Run tasks on several processes, results in order, with nothing left behind."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from dexsearch.errors import EnvironmentFault

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_AHEAD = 2


def map_in_processes(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, n_workers: int | None = None
) -> Generator[Result, None, None]:
    """Yield `function(task)` for every task in order, computed by `n_workers` processes.

    One worker means this process. Only a few results wait at a time, so memory stays flat. When
    the iterator is closed or interrupted by Ctrl-C, the workers are stopped at once; they also end
    by themselves when this process is killed.

    Raises:
        EnvironmentFault: if a worker dies, for example for want of memory.
    """
    n_workers = min(n_workers or available_cpus(), len(tasks))
    if n_workers <= 1:
        yield from map(function, tasks)
        return
    pool = ProcessPoolExecutor(
        n_workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    waiting: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(function, task))
            if len(waiting) >= TASKS_AHEAD * n_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except (GeneratorExit, KeyboardInterrupt):
        _end_workers(pool)
        raise
    except BrokenProcessPool as error:
        raise EnvironmentFault(
            "a worker process died while the dataset was made",
            hint="free some memory, or make smaller images",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def available_cpus() -> int:
    """Return the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _end_workers(pool: ProcessPoolExecutor) -> None:
    """Stop workers in mid-task, as `ProcessPoolExecutor.terminate_workers` of Python 3.14 does."""
    for process in list((pool._processes or {}).values()):
        process.terminate()


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, use one thread, and end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Read when a task's code first imports torch or numba: one thread in each process.
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
