"""Show the files of registered generators among the artifacts of their runs, under `generator/`.

Where artifacts lie in the workspace they are hard links, anywhere else they are uploaded; both
once for each content hash. There MLflow's pages show pictures and weights, and `mlflow models
serve` and `dexsearch best --download` find them wherever the workspace is.
"""

import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dexsearch.errors import DataError, EnvironmentFault
from dexsearch.inference.package import open_package
from dexsearch.registry.address import is_server
from dexsearch.registry.record import Registration, Registry
from dexsearch.registry.tracking import ARTIFACTS, TrackingStore

PACKAGE_TAG, LABEL_TAG = "dexsearch.package_sha256", "dexsearch.registered"
FOLDER, MODEL = "generator", "mlflow"
SERVED = "mlflow-artifacts:/"


def show_files(store: TrackingStore, registry: Registry, version: Registration, run: Any) -> None:  # noqa: ANN401
    """Bring a package's files to its run's artifacts, unless they are there.

    A package that is not what was registered is told of and stays away.

    Raises:
        EnvironmentFault: if the server keeps artifacts where only itself can write.
    """
    package = registry.path_of(version)
    run_id = str(run.info.run_id)
    target = _folder_here(store, run)
    shown = run.data.tags.get(PACKAGE_TAG) == version.sha256
    if shown and (target is None or target.is_dir()):
        return
    label = f"{version.name}/{version.version}"
    try:
        open_package(package, sha256=version.sha256)
    except DataError as error:
        store.tell(f"the files of {label} are not brought to MLflow: {error}")
        return
    if target is None:
        _refuse_unwritable(store, run)
        store.client.log_artifacts(run_id, str(package), FOLDER)
    else:
        _link_all(package, target)
    store.client.set_tag(run_id, LABEL_TAG, label)
    store.client.set_tag(run_id, PACKAGE_TAG, version.sha256)


def source_of(store: TrackingStore, registry: Registry, version: Registration, run: Any) -> str:  # noqa: ANN401
    """Return the URI that MLflow serves a version from: its MLflow model, if it has one."""
    package = registry.path_of(version)
    has_model = (package / MODEL).is_dir()
    if store.database is not None:
        return (package / MODEL if has_model else package).as_uri()
    folder = f"{FOLDER}/{MODEL}" if has_model else FOLDER
    return f"{str(run.info.artifact_uri).rstrip('/')}/{folder}"


def _refuse_unwritable(store: TrackingStore, run: Any) -> None:  # noqa: ANN401
    """Refuse a server whose artifacts lie in a folder of its own machine.

    MLflow's client would write them into a folder of that name here, and nobody would find them.
    """
    place = str(run.info.artifact_uri)
    if is_server(store.uri) and place.startswith(("file:", "/")):
        raise EnvironmentFault(
            f"the MLflow server keeps artifacts in {place!r} on its own machine, where only it "
            "can write",
            hint="start it with --serve-artifacts and --artifacts-destination, as dexsearch "
            "server does, with an experiment that nobody has made before",
        )


def _folder_here(store: TrackingStore, run: Any) -> Path | None:  # noqa: ANN401
    """Return where the files of a run go in this workspace; None if its artifacts are elsewhere.

    A server on this machine that shows this workspace's own file keeps them here too, and
    calls that place its own.
    """
    mine = (store.workspace / ARTIFACTS).absolute()
    place = str(run.info.artifact_uri)
    if store.database is not None and place.startswith(SERVED):
        return mine / unquote(place.removeprefix(SERVED)) / FOLDER
    if not place.startswith(f"{mine.as_uri()}/"):
        return None
    return Path(unquote(urlsplit(place).path)) / FOLDER


def _link_all(package: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    for file in sorted(path for path in package.rglob("*") if path.is_file()):
        link = target / file.relative_to(package)
        link.parent.mkdir(parents=True, exist_ok=True)
        _link(file, link)


def _link(file: Path, link: Path) -> None:
    """Give a file a second name; copy it where the file system has no hard links."""
    try:
        os.link(file, link)
    except OSError:
        shutil.copyfile(file, link)
