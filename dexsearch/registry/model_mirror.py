"""Project the registry on MLflow: registered models, their versions, aliases and files.

A version is found by its generator, which two tags name, so it does not matter how MLflow
numbers it. Usually both numbers agree. MLflow gives no number twice: after somebody deleted a
version there, or registered one, ours gets the next number, and that is told.
"""

from collections.abc import Mapping
from typing import Any

from dexsearch.errors import EnvironmentFault
from dexsearch.registry.alias_mirror import sync_aliases
from dexsearch.registry.generator_files import show_files, source_of
from dexsearch.registry.model_text import model_text, version_text
from dexsearch.registry.own_database import repoint_version
from dexsearch.registry.points import milliseconds
from dexsearch.registry.record import Registration, Registry
from dexsearch.registry.run_mirror import KIND, TRIAL_KEY, trial_key
from dexsearch.registry.run_store import find_runs, set_status, unique_runs
from dexsearch.registry.tags import version_tags
from dexsearch.registry.tracking import TrackingStore

WEIGHTS_TAG, LABEL_TAG = "dexsearch.weights_sha256", "dexsearch.label"
GENERATOR_TAGS = (WEIGHTS_TAG, TRIAL_KEY)
"""What names a generator, whichever package it lies in and whatever number it has."""


def sync_models(
    store: TrackingStore, registry: Registry, run_ids: Mapping[tuple[str, int], str]
) -> None:
    """Bring MLflow's model registry up to ours.

    Args:
        store: the open store; it is told what somebody changed by hand.
        registry: the truth.
        run_ids: (name, version) -> id of the run of its trial, where a ledger tells of it.

    Raises:
        EnvironmentFault: if the store shows the registry of another workspace.
    """
    for name in registry.names:
        model = _ensure_model(store, name)
        there = _versions(store, name)
        numbers: dict[int, int] = {}
        runs: dict[int, str] = {}
        for version in sorted(registry.versions, key=lambda v: v.version):
            if version.name == name:
                known = _find(store, there, version)
                run = _run_of(
                    store, registry, version, known, run_ids.get((name, version.version))
                )
                runs[version.version] = str(run.info.run_id)
                numbers[version.version] = _sync_version(store, registry, version, known, run)
        sync_aliases(store, registry, model, numbers)
        text = model_text(registry, name, runs)
        if model.description != text:
            store.client.update_registered_model(name, text)


def _ensure_model(store: TrackingStore, name: str) -> Any:  # noqa: ANN401
    if not store.client.search_registered_models(f"name = '{name}'"):
        store.client.create_registered_model(name, tags={"dexsearch.managed": "true"})
    return store.client.get_registered_model(name)  # searching leaves aliases out


def _versions(store: TrackingStore, name: str) -> list[Any]:
    """Return what MLflow holds of a name."""
    found: list[Any] = []
    token = None
    while True:
        page = store.client.search_model_versions(
            f"name = '{name}'", max_results=200, page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def _find(store: TrackingStore, there: list[Any], version: Registration) -> Any:  # noqa: ANN401
    """Return what MLflow holds of a version, the newest where there are several; None if nothing.

    Raises:
        EnvironmentFault: if another generator of dexsearch has its name and number.
    """
    wanted, label = _generator_tags(version), _label(version)
    mine = [v for v in there if all(v.tags.get(k) == wanted[k] for k in GENERATOR_TAGS)]
    if mine:
        return max(mine, key=lambda v: int(v.version))
    for other in there:
        told = other.tags.get(LABEL_TAG) or f"{other.name}/{other.version}"
        if told == label and WEIGHTS_TAG in other.tags:
            raise EnvironmentFault(
                f"MLflow and registry.jsonl disagree about {label}: another generator of "
                f"dexsearch has that name in MLflow (study {other.tags.get(TRIAL_KEY)!r})",
                hint="give each workspace a store of its own; if this one only held an older "
                "registry, delete mlflow.db, then: dexsearch sync"
                if store.database is not None
                else "give each workspace a server or database of its own",
            )
    return None


def _run_of(
    store: TrackingStore,
    registry: Registry,
    version: Registration,
    known: Any,  # noqa: ANN401
    run_id: str | None,
) -> Any:  # noqa: ANN401
    """Return the run of a version, with its files: that of its trial, else one of its own."""
    if run_id is not None:
        run = store.client.get_run(run_id)
    else:
        run = _earlier_run(store, version, known)
    show_files(store, registry, version, run)
    return run


def _earlier_run(store: TrackingStore, version: Registration, known: Any) -> Any:  # noqa: ANN401
    """Return the run of a version whose study is gone, as MLflow has it; else make one."""
    wanted = _generator_tags(version)
    by_weights = f"tags.`{WEIGHTS_TAG}` = '{version.weights_sha256}'"
    found = [
        run
        for run in find_runs(store, by_weights, with_deleted=True)
        if run.data.tags.get(TRIAL_KEY) == wanted[TRIAL_KEY]
    ]
    if known is not None and known.run_id and not found:
        found = find_runs(store, f"attributes.run_id = '{known.run_id}'", with_deleted=True)
    runs = unique_runs(store, found, lambda _: _label(version))
    run = runs.get(_label(version)) or store.client.create_run(
        store.experiment_id,
        start_time=milliseconds(version.time),
        tags={KIND: "generator", **wanted},
        run_name=_label(version).replace("/", "-"),
    )
    if run.data.tags.get(KIND) == "generator":  # the run of a trial keeps the status of its trial
        set_status(store, run, "FINISHED", version.time)
    return run


def _sync_version(
    store: TrackingStore,
    registry: Registry,
    version: Registration,
    known: Any,  # noqa: ANN401
    run: Any,  # noqa: ANN401
) -> int:
    """Bring one version up to the registry and return the number that MLflow gave it."""
    source, run_id = source_of(store, registry, version, run), str(run.info.run_id)
    text = version_text(registry, version, run_id)
    lost = known is not None and store.database is None and known.run_id != run_id
    if known is None or lost:  # where no API points a version to another run
        known = store.client.create_model_version(
            version.name, source=source, run_id=run_id, tags=_generator_tags(version),
            description=text, await_creation_for=0,
        )  # fmt: skip
        _tell_other_number(store, version, int(known.version))
    elif store.database is not None and (known.source != source or known.run_id != run_id):
        repoint_version(
            store.database, version.name, int(known.version), source=source, run_id=run_id
        )
    if known.description != text:
        store.client.update_model_version(version.name, str(known.version), text)
    for key, value in _tags(registry, version).items():
        if known.tags.get(key, "") != value:
            store.client.set_model_version_tag(version.name, str(known.version), key, value)
    return int(known.version)


def _tell_other_number(store: TrackingStore, version: Registration, number: int) -> None:
    if number != version.version:
        store.tell(
            f"{_label(version)} is version {number} in MLflow, because a version was deleted or "
            "registered there by hand and MLflow gives no number twice"
        )


def _tags(registry: Registry, version: Registration) -> dict[str, str]:
    """Return every tag of a version; what `best` reads there has our number, not MLflow's."""
    scores = {
        key: f"{value:.4f}"
        for key in ("val_ssim", "val_ssim_bone", "val_ssim_tissue")
        if (value := getattr(version, key)) is not None
    }
    return {
        **_generator_tags(version),
        "dexsearch.sha256": version.sha256,
        "dexsearch.dataset_digest": version.dataset,
        "dexsearch.metric_definition": str(version.metric),
        **scores,
        **version_tags(registry, version),
    }


def _generator_tags(version: Registration) -> dict[str, str]:
    return {
        WEIGHTS_TAG: version.weights_sha256,
        TRIAL_KEY: trial_key(version.study, version.trial),
        LABEL_TAG: _label(version),
    }


def _label(version: Registration) -> str:
    return f"{version.name}/{version.version}"
