"""Tasks of data generation on Ray: the same function, the same order, on the nodes of a cluster.

What a task names (a CT) has to be there under the same path on every node; a phantom needs
nothing. Results come back through Ray's object store, a few ahead of the writer.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, TypeVar

from dexsearch.errors import DexSearchError, EnvironmentFault
from dexsearch.search.cluster import prepare_environment
from dexsearch.search.warm_up import SKIP

if TYPE_CHECKING:
    from ray.exceptions import RayTaskError

Task = TypeVar("Task")
Result = TypeVar("Result")

AHEAD_PER_CPU = 2
RETRIES = 3
"""How often a task is given out again after its node was lost."""

ENVIRONMENT = {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", SKIP: "1"}
"""One thread for each task, and nothing imported beforehand that only trials need."""


def map_on_ray(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, address: str | None
) -> Generator[Result, None, None]:
    """Yield `function(task)` for every task in order, computed one CPU each on a Ray cluster.

    Closing the iterator cancels what is under way and leaves the cluster.

    Args:
        function: importable on every node.
        tasks: what to give it.
        address: `HOST:PORT` or `auto`; None starts Ray on this machine.

    Raises:
        EnvironmentFault: if the cluster cannot be joined or loses a task for good.
        DexSearchError: what a task raised.
    """
    if not tasks:
        return
    prepare_environment(address)
    import ray  # noqa: PLC0415  (environment first)
    from ray.exceptions import RayError, RayTaskError  # noqa: PLC0415

    from dexsearch.search.ray_cluster import ray_cluster  # noqa: PLC0415

    with ray_cluster(address):
        remote = ray.remote(
            num_cpus=1, max_retries=RETRIES, runtime_env={"env_vars": ENVIRONMENT}
        )(function)
        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        n_ahead = max(1, AHEAD_PER_CPU * int(total.get("CPU", 1)))
        waiting: deque[ray.ObjectRef[Result]] = deque()
        try:
            for task in tasks:
                waiting.append(remote.remote(task))
                if len(waiting) >= n_ahead:
                    yield ray.get(waiting.popleft())
            while waiting:
                yield ray.get(waiting.popleft())
        except RayTaskError as error:
            raise _told(error) from None
        except RayError as error:
            raise EnvironmentFault(
                f"Ray lost a task of the dataset: {error}",
                hint="the same command continues where it stopped",
            ) from None
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)


def _told(error: "RayTaskError") -> Exception:
    """Return what the task raised, without the wrapping whose text is a traceback."""
    cause = error.cause
    if isinstance(cause, DexSearchError):
        return cause
    return EnvironmentFault(
        f"a task of the dataset failed on a node: {type(cause).__name__}: {cause}",
        hint="check that every node has this version of dexsearch and sees the same files",
    )
