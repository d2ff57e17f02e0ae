"""Look at MLflow without changing it: what `doctor` compares with the ledgers, what `gc` spares.

MLflow's client migrates the schema of a database that an older one wrote as soon as it opens it,
and then the older one is locked out. So databases are asked directly, read-only, about the few
tables that matter; only a server is asked through the client.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsearch.errors import EnvironmentFault
from dexsearch.registry.address import DATABASE, check_uri, is_server, shown, why_silent
from dexsearch.registry.alias_mirror import SET_LAST, set_last
from dexsearch.registry.model_mirror import WEIGHTS_TAG
from dexsearch.registry.record import Registry
from dexsearch.registry.run_mirror import BEGUN, TRIAL_KEY, trial_key
from dexsearch.registry.run_store import LOGGED
from dexsearch.registry.tracking import EXPERIMENT, FOREIGN, make_safe

Rows = list[tuple[Any, ...]]
Query = Callable[[str], Rows]
Generator = tuple[str, str]
"""sha256 of its weights, and its study and trial: what names one in MLflow."""
PREFIX = "dexsearch-"
_PAGE = 1000
_RUN_TAGS = f"('{TRIAL_KEY}', '{LOGGED}', '{BEGUN}')"
_RUNS = (
    "SELECT r.run_uuid, r.status, t.key, t.value FROM runs r "
    "JOIN experiments e ON e.experiment_id = r.experiment_id "
    "JOIN tags t ON t.run_uuid = r.run_uuid "
    f"WHERE e.name = '{EXPERIMENT}' AND r.lifecycle_stage = 'active' AND t.key IN {_RUN_TAGS}"
)
_VERSIONS = (
    "SELECT v.name, v.version, w.value, k.value FROM model_versions v "
    "LEFT JOIN model_version_tags w ON w.name = v.name AND w.version = v.version "
    f"AND w.key = '{WEIGHTS_TAG}' "
    "LEFT JOIN model_version_tags k ON k.name = v.name AND k.version = v.version "
    f"AND k.key = '{TRIAL_KEY}' "
    f"WHERE v.name LIKE '{PREFIX}%' AND v.current_stage != 'Deleted_Internal'"
)
_SET_LAST = f"SELECT name, value FROM registered_model_tags WHERE key = '{SET_LAST}'"
_ALIASES = f"SELECT name, alias, version FROM registered_model_aliases WHERE name LIKE '{PREFIX}%'"


@dataclass(frozen=True, slots=True)
class SeenRun:
    """The run of a trial as MLflow has it."""

    status: str
    points: int
    """How many points of its curves were sent."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What MLflow holds of ours."""

    schema: str | None
    """Revision of the database's tables; None of a server, which looks after its own."""
    runs: Mapping[tuple[str, str], SeenRun]
    """(when the study began, study/number) -> the trial's run."""
    versions: Mapping[tuple[str, int], Generator | None]
    """(name, MLflow's number) -> the generator; None where somebody registered it by hand."""
    aliases: Mapping[str, Mapping[str, int]]
    """Name -> alias -> MLflow's number."""
    set_last: Mapping[str, Mapping[str, int]]
    """The same, as we set it last."""

    def numbers(self, registry: Registry) -> dict[tuple[str, int], int]:
        """Return (name, version) -> MLflow's number of each of our versions that it has."""
        by_generator = {
            (name, generator): number
            for (name, number), generator in sorted(self.versions.items())
            if generator is not None
        }
        found = {}
        for version in registry.versions:
            generator = (version.weights_sha256, trial_key(version.study, version.trial))
            number = by_generator.get((version.name, generator))
            if number is not None:
                found[version.name, version.version] = number
        return found


def look_at_tracking(workspace: Path, uri: str | None = None) -> Seen | None:
    """Read what MLflow holds; None where the workspace has no MLflow yet.

    Args:
        workspace: whose `mlflow.db` is read where no `uri` is given.
        uri: another MLflow, as `open_tracking` takes it.

    Raises:
        ConfigurationError: if `uri` is no address of MLflow.
        EnvironmentFault: if it cannot be read, or does not answer.
    """
    uri = check_uri(uri)
    reason = why_silent(uri)
    if reason is not None:
        raise _unreadable(shown(str(uri)), reason)
    try:
        if uri is None or uri.startswith("sqlite:"):
            return _look_at_file(_file(workspace, uri))
        return _look_at_server(uri) if is_server(uri) else _look_at_database(uri)
    except Exception as error:
        if not isinstance(error, OSError) and not type(error).__module__.startswith(FOREIGN):
            raise
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        where = workspace / DATABASE if uri is None else shown(uri)
        raise _unreadable(where, first) from error


def run_ids(workspace: Path) -> set[str] | None:
    """Return the id of every run in the workspace's `mlflow.db`, deleted ones too.

    None where there is no such file, or it cannot be read.
    """
    try:
        with closing(_read_only(workspace / DATABASE)) as connection:
            return {run for (run,) in connection.execute("SELECT run_uuid FROM runs")}
    except sqlite3.Error:
        return None


def known_schemas() -> tuple[str, ...]:
    """Return the revisions of MLflow's tables that the MLflow installed here knows, newest first.

    MLflow has no public name for it; importing it takes seconds.
    """
    make_safe()
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from mlflow.store.db.utils import _get_alembic_config  # noqa: PLC0415

    untyped: Any = _get_alembic_config
    scripts = ScriptDirectory.from_config(untyped(db_url=""))
    return tuple(script.revision for script in scripts.walk_revisions())


def _file(workspace: Path, uri: str | None) -> Path:
    return workspace / DATABASE if uri is None else Path(uri.removeprefix("sqlite:///"))


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)


def _look_at_file(path: Path) -> Seen | None:
    if not path.exists():
        return None
    with closing(_read_only(path)) as connection:
        return _look(lambda sql: connection.execute(sql).fetchall())


def _look_at_database(uri: str) -> Seen:
    import sqlalchemy  # noqa: PLC0415  (MLflow stands on it)

    options = "-c default_transaction_read_only=on"
    engine = sqlalchemy.create_engine(uri, connect_args={"connect_timeout": 5, "options": options})
    try:
        with engine.connect() as connection:
            return _look(lambda sql: [tuple(r) for r in connection.execute(sqlalchemy.text(sql))])
    finally:
        engine.dispose()


def _look(query: Query) -> Seen:
    schema = query("SELECT version_num FROM alembic_version")
    tags: dict[str, dict[str, str]] = {}
    statuses: dict[str, str] = {}
    for run, status, key, value in query(_RUNS):
        tags.setdefault(run, {})[key] = value
        statuses[run] = status
    return Seen(
        schema=schema[0][0] if schema else None,
        runs=_runs((tags[run], statuses[run]) for run in tags),
        versions={(name, int(n)): _generator(w, k) for name, n, w, k in query(_VERSIONS)},
        aliases=_by_name(query(_ALIASES)),
        set_last={name: set_last(value) for name, value in query(_SET_LAST)},
    )


def _look_at_server(uri: str) -> Seen:
    make_safe()
    from mlflow import MlflowClient  # noqa: PLC0415

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found = [] if experiment is None else _pages(
        client.search_runs, [experiment.experiment_id], f"tags.`{TRIAL_KEY}` LIKE '%'"
    )  # fmt: skip
    listed = _pages(client.search_registered_models, f"name LIKE '{PREFIX}%'")
    models = [
        client.get_registered_model(model.name) for model in listed
    ]  # the list has no aliases
    versions = _pages(client.search_model_versions, f"name LIKE '{PREFIX}%'")
    return Seen(
        schema=None,
        runs=_runs((run.data.tags, run.info.status) for run in found),
        versions={
            (v.name, int(v.version)): _generator(v.tags.get(WEIGHTS_TAG), v.tags.get(TRIAL_KEY))
            for v in versions
        },
        aliases=_by_name((m.name, alias, n) for m in models for alias, n in m.aliases.items()),
        set_last={model.name: set_last(model.tags.get(SET_LAST)) for model in models},
    )


def _generator(weights_sha256: str | None, key: str | None) -> Generator | None:
    return None if weights_sha256 is None or key is None else (weights_sha256, key)


def _by_name(rows: Iterable[tuple[str, str, Any]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, alias, number in rows:
        found.setdefault(name, {})[alias] = int(number)
    return found


def _pages(search: Callable[..., Any], *arguments: object) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = search(*arguments, max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _runs(found: Any) -> dict[tuple[str, str], SeenRun]:  # noqa: ANN401  (pairs of tags and status)
    """Return the runs of trials; those of studies have no trial key."""
    return {
        (tags.get(BEGUN, ""), tags[TRIAL_KEY]): SeenRun(status, int(tags.get(LOGGED) or 0))
        for tags, status in found
        if TRIAL_KEY in tags
    }


def _unreadable(where: object, reason: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"MLflow at {str(where)!r} cannot be read: {reason}",
        hint="nothing is lost: the ledgers hold everything, and dexsearch sync rebuilds MLflow",
    )
