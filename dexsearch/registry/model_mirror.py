"""Project the registry on MLflow: registered models, their versions, aliases and files.

Every version's source is its package folder, its run that of its trial. The package's files are
also linked among that run's artifacts, where MLflow's pages show pictures and weights.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from dexsearch.errors import EnvironmentFault
from dexsearch.registry.record import Registration, Registry, TargetScores
from dexsearch.registry.run_mirror import trial_key
from dexsearch.registry.tracking import TrackingStore

CONTENT, PACKAGE_TAG = "dexsearch.content", "dexsearch.package_sha256"
FOLDER = "generator"


def sync_models(store: TrackingStore, registry: Registry, run_ids: Mapping[str, str]) -> None:
    """Bring MLflow's model registry up to ours.

    Args:
        store: the open store.
        registry: the truth.
        run_ids: trial key -> run id, of every study that the store holds.

    Raises:
        EnvironmentFault: if MLflow numbers a version otherwise, because somebody registered or
            deleted one there.
    """
    for name in registry.names:
        _ensure_model(store, name)
        versions = _versions(store, name)
        for version in sorted(registry.versions, key=lambda v: v.version):
            if version.name != name:
                continue
            run_id = run_ids.get(trial_key(version.study, version.trial))
            if version.version not in versions:
                _create(store, registry, version, run_id)
            elif versions[version.version] != _content(version):
                raise _numbered_otherwise(version)
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


def _versions(store: TrackingStore, name: str) -> dict[int, str]:
    """Return version number -> content tag of what MLflow holds."""
    found: dict[int, str] = {}
    token = None
    while True:
        page = store.client.search_model_versions(
            f"name = '{name}'", max_results=200, page_token=token
        )
        found |= {int(v.version): v.tags.get(CONTENT, "") for v in page}
        token = page.token
        if not token:
            return found


def _create(
    store: TrackingStore, registry: Registry, version: Registration, run_id: str | None
) -> None:
    scores = {
        key: f"{value:.4f}"
        for key in ("val_ssim", "val_ssim_bone", "val_ssim_tissue")
        if (value := getattr(version, key)) is not None
    }
    created = store.client.create_model_version(
        version.name,
        source=registry.path_of(version).as_uri(),
        run_id=run_id,
        tags={
            CONTENT: _content(version),
            "dexsearch.trial_key": trial_key(version.study, version.trial),
            "dexsearch.sha256": version.sha256,
            "dexsearch.dataset_digest": version.dataset,
            "dexsearch.metric_definition": str(version.metric),
            **scores,
        },
        description=_description(version),
        await_creation_for=0,
    )
    if int(created.version) != version.version:
        store.client.delete_model_version(version.name, created.version)
        raise _numbered_otherwise(version)


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
    target = Path(unquote(urlparse(run.info.artifact_uri).path)) / FOLDER
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


def _content(version: Registration) -> str:
    return Path(version.package).name


def _numbered_otherwise(version: Registration) -> EnvironmentFault:
    return EnvironmentFault(
        f"MLflow and registry.jsonl disagree about {version.name}/{version.version}: a version "
        "was registered or deleted in MLflow by hand",
        hint="delete mlflow.db and run the same dexsearch tune again, which rebuilds it",
    )
