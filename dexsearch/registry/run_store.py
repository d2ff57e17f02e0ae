"""Runs of an MLflow store: find them, send what they lack, end them.

Only calls of MLflow's public client; each sends one batch, because every call of a SQLite store
waits for the disk and every call of a server for the network.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dexsearch.registry.points import Point, milliseconds
from dexsearch.registry.tracking import TrackingStore

LOGGED, DUPLICATE = "dexsearch.points_logged", "dexsearch.duplicate_of"
MOST_METRICS, MOST_PARAMS, MOST_TAGS = 800, 100, 100
LONGEST_TEXT = 5000


def find_runs(
    store: TrackingStore, filter_string: str, *, with_deleted: bool = False
) -> list[Any]:
    """Return every run of ours that a filter finds; duplicates that were put away are left out."""
    from mlflow.entities import ViewType  # noqa: PLC0415

    view = ViewType.ALL if with_deleted else ViewType.ACTIVE_ONLY
    runs: list[Any] = []
    token = None
    while True:
        page = store.client.search_runs(
            [store.experiment_id], filter_string, view, max_results=1000, page_token=token
        )
        runs += [run for run in page if DUPLICATE not in run.data.tags]
        token = page.token
        if not token:
            return runs


def unique_runs(
    store: TrackingStore, runs: Sequence[Any], key: Callable[[Any], str]
) -> dict[str, Any]:
    """Return one run for each key: the one with the most points, where there are several.

    A server whose answer is lost has made the run all the same, and the client asks again. The
    others are tagged and deleted, which can be undone in MLflow. A run that somebody deleted by
    hand is restored and told of.
    """
    together: dict[str, list[Any]] = defaultdict(list)
    for run in runs:
        together[key(run)].append(run)
    unique = {}
    for name, same in together.items():
        first, *others = sorted(same, key=_most_told_first)
        if first.info.lifecycle_stage == "deleted":
            store.tell(f"the run of {name} was deleted in MLflow by hand; it is restored")
            store.client.restore_run(first.info.run_id)
        for other in others:
            if other.info.lifecycle_stage != "deleted":
                store.client.set_tag(other.info.run_id, DUPLICATE, first.info.run_id)
                store.client.delete_run(other.info.run_id)
        unique[name] = first
    return unique


def _most_told_first(run: Any) -> tuple[bool, int, str]:  # noqa: ANN401
    logged = int(run.data.tags.get(LOGGED, 0))
    return (run.info.lifecycle_stage == "deleted", -logged, str(run.info.run_id))


def send(
    store: TrackingStore,
    run: Any,  # noqa: ANN401
    *,
    tags: Mapping[str, str],
    params: Mapping[str, str],
    points: Sequence[Point],
) -> None:
    """Send what a run lacks. The count of points goes last, so that a crash only repeats some."""
    from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415

    logged = int(run.data.tags.get(LOGGED, 0))
    metrics = [Metric(p.key, p.value, p.timestamp_ms, p.step) for p in points[logged:]]
    wanted = {**{key: storable(value) for key, value in tags.items()}, LOGGED: str(len(points))}
    changed = [RunTag(k, v) for k, v in wanted.items() if run.data.tags.get(k) != v]
    missing = [Param(k, storable(v)) for k, v in params.items() if k not in run.data.params]
    while metrics or missing or changed:
        last = len(metrics) <= MOST_METRICS and len(missing) <= MOST_PARAMS
        store.client.log_batch(
            run.info.run_id,
            metrics=metrics[:MOST_METRICS],
            params=missing[:MOST_PARAMS],
            tags=changed[:MOST_TAGS] if last else [],
            synchronous=True,
        )
        metrics, missing = metrics[MOST_METRICS:], missing[MOST_PARAMS:]
        changed = changed[MOST_TAGS:] if last else changed


def set_status(store: TrackingStore, run: Any, status: str, ended: float | None) -> None:  # noqa: ANN401
    """Give a run a status, unless it has it, with its end in seconds since 1970."""
    if run.info.status == status:
        return
    if status == "RUNNING":
        store.client.update_run(run.info.run_id, status=status)
    else:
        end_time = None if ended is None else milliseconds(ended)
        store.client.set_terminated(run.info.run_id, status=status, end_time=end_time)


def storable(text: str) -> str:
    """Return a text that every store takes: cut to its longest, without NUL and lone surrogates.

    PostgreSQL refuses both, SQLite neither.
    """
    return text[:LONGEST_TEXT].replace("\0", "").encode(errors="replace").decode()


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested values by dotted key."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = str(value)
    return found
