"""Project the registry on MLflow: registered models, their versions, aliases and files.

Every version's source is its package folder, its run that of its trial. The package's files are
also linked among that run's artifacts, where MLflow's pages show pictures and weights.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dexsearch.errors import EnvironmentFault
from dexsearch.registry.record import Registration, Registry, TargetScores
from dexsearch.registry.run_mirror import TRIAL_KEY, trial_key
from dexsearch.registry.tracking import TrackingStore

WEIGHTS_TAG, PACKAGE_TAG = "dexsearch.weights_sha256", "dexsearch.package_sha256"
GENERATOR_TAGS = (WEIGHTS_TAG, TRIAL_KEY)
"""What names a generator, whichever package it lies in."""
FOLDER = "generator"


def sync_models(
    store: TrackingStore, registry: Registry, run_ids: Mapping[tuple[str, int], str]
) -> None:
    """Bring MLflow's model registry up to ours.

    Args:
        store: the open store.
        registry: the truth.
        run_ids: (name, version) -> id of the run of its trial, where the store holds it.

    Raises:
        EnvironmentFault: if MLflow numbers a version otherwise, because somebody registered or
            deleted one there.
    """
    for name in registry.names:
        _ensure_model(store, name)
        there = _versions(store, name)
        for version in sorted(registry.versions, key=lambda v: v.version):
            if version.name != name:
                continue
            run_id = run_ids.get((name, version.version))
            if version.version not in there:
                _create(store, registry, version, run_id)
            else:
                _update(store, registry, version, there[version.version], run_id)
            if run_id is not None:
                _show_files(store, registry.path_of(version), version, run_id)
        _sync_aliases(store, registry, name)


def _ensure_model(store: TrackingStore, name: str) -> None:
    if not store.client.search_registered_models(f"name = '{name}'"):
        store.client.create_registered_model(
            name,
            tags={"dexsearch.managed": "true"},
            description="Generators that dexsearch registered; aliases are moved by dexsearch.",
        )


def _versions(store: TrackingStore, name: str) -> dict[int, Any]:
    """Return what MLflow holds by version number."""
    found: dict[int, Any] = {}
    token = None
    while True:
        page = store.client.search_model_versions(
            f"name = '{name}'", max_results=200, page_token=token
        )
        found |= {int(v.version): v for v in page}
        token = page.token
        if not token:
            return found


def _create(
    store: TrackingStore, registry: Registry, version: Registration, run_id: str | None
) -> None:
    created = store.client.create_model_version(
        version.name,
        source=registry.path_of(version).as_uri(),
        run_id=run_id,
        tags=_tags(version),
        description=_description(version),
        await_creation_for=0,
    )
    if int(created.version) != version.version:
        store.client.delete_model_version(version.name, created.version)
        raise _numbered_otherwise(version)


def _update(
    store: TrackingStore,
    registry: Registry,
    version: Registration,
    there: Any,  # noqa: ANN401
    run_id: str | None,
) -> None:
    """Follow a package that was written anew, or a workspace that was moved."""
    wanted = _tags(version)
    if any(there.tags.get(key) != wanted[key] for key in GENERATOR_TAGS):
        raise _numbered_otherwise(version)
    source = registry.path_of(version).as_uri()
    if there.source != source or (run_id is not None and there.run_id != run_id):
        store.repoint_version(version.name, version.version, source=source, run_id=run_id)
    for key, value in wanted.items():
        if there.tags.get(key) != value:
            store.client.set_model_version_tag(version.name, str(version.version), key, value)


def _tags(version: Registration) -> dict[str, str]:
    scores = {
        key: f"{value:.4f}"
        for key in ("val_ssim", "val_ssim_bone", "val_ssim_tissue")
        if (value := getattr(version, key)) is not None
    }
    return {
        WEIGHTS_TAG: version.weights_sha256,
        TRIAL_KEY: trial_key(version.study, version.trial),
        "dexsearch.sha256": version.sha256,
        "dexsearch.dataset_digest": version.dataset,
        "dexsearch.metric_definition": str(version.metric),
        **scores,
    }


def _description(version: Registration) -> str:
    """Return a table of scores beside what doing nothing scores."""
    lines = [
        f"Study {version.study!r}, trial {version.trial}, {version.epochs} epochs. "
        "Masked SSIM on validation subjects:",
        "",
        "| | bone | tissue |",
        "|---|---|---|",
    ]
    own: TargetScores = {
        target: score
        for target, score in (("bone", version.val_ssim_bone), ("tissue", version.val_ssim_tissue))
        if score is not None
    }
    for name, scores in {"this generator": own, **version.baselines}.items():
        cells = [scores.get(target) for target in ("bone", "tissue")]
        told = ["-" if value is None else f"{value:.4f}" for value in cells]
        lines.append(f"| {name} | {' | '.join(told)} |")
    return "\n".join([*lines, "", "Research software, not for diagnosis."])


def _show_files(store: TrackingStore, package: Path, version: Registration, run_id: str) -> None:
    """Link a package's files among its run's artifacts, once."""
    run: Any = store.client.get_run(run_id)
    label = f"{version.name}/{version.version}"
    target = store.artifacts / run_id / "artifacts" / FOLDER
    shown = run.data.tags.get(PACKAGE_TAG) == version.sha256 and target.is_dir()
    if shown or not package.is_dir():
        return
    shutil.rmtree(target, ignore_errors=True)
    for file in sorted(path for path in package.rglob("*") if path.is_file()):
        link = target / file.relative_to(package)
        link.parent.mkdir(parents=True, exist_ok=True)
        _link(file, link)
    store.client.set_tag(run_id, "dexsearch.registered", label)
    store.client.set_tag(run_id, PACKAGE_TAG, version.sha256)


def _link(file: Path, link: Path) -> None:
    """Give a file a second name; copy it where the file system has no hard links."""
    try:
        os.link(file, link)
    except OSError:
        shutil.copyfile(file, link)


def _sync_aliases(store: TrackingStore, registry: Registry, name: str) -> None:
    """Point our aliases where the registry has them; those that people made in MLflow stay."""
    there = {
        alias: int(number)
        for alias, number in store.client.get_registered_model(name).aliases.items()
    }
    for (owner, alias), version in registry.aliases.items():
        if owner == name and there.get(alias) != version:
            store.client.set_registered_model_alias(name, alias, str(version))


def _numbered_otherwise(version: Registration) -> EnvironmentFault:
    return EnvironmentFault(
        f"MLflow and registry.jsonl disagree about {version.name}/{version.version}: a version "
        "was registered or deleted in MLflow by hand",
        hint="delete mlflow.db and run the same dexsearch tune again, which rebuilds it",
    )
