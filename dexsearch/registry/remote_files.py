"""Fetch a registered package from MLflow: every file bounded, every hash checked, all or nothing.

A server is asked by `/get-artifact`, which reads the files on its own side, wherever they are
there: in a folder of its machine, in a bucket, or behind `--serve-artifacts`.
"""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from dexsearch.durable import file_sha256
from dexsearch.errors import DataError
from dexsearch.inference.package import MANIFEST, Package
from dexsearch.inference.package_copies import receive_package
from dexsearch.registry.address import is_server
from dexsearch.registry.entries import Registration
from dexsearch.registry.remote import RemoteRegistry, told_in_one_line, unusable
from dexsearch.registry.remote_server import CHUNK_BYTES, opened
from dexsearch.registry.standing import version_label

FOLDER = "generator"
"""Where the package lies among the artifacts of its run."""
LARGEST_MANIFEST_BYTES = 2**20
MOST_FILES = 1000
LARGEST_SMALL_FILE_BYTES = 64 * 2**20
BYTES_PER_PARAMETER = 16
"""A file of weights has 4; an exported network repeats some."""
Progress = Callable[[int, int], None]


def download_remote(
    remote: RemoteRegistry, version: Registration, target: Path, progress: Progress
) -> Package:
    """Fetch the package of a version into a new or empty folder; nothing is left on failure.

    Args:
        remote: the store, as it was read.
        version: one of its versions.
        target: the folder; if that package is there already, it stays.
        progress: is told how many files of how many are there.

    Raises:
        ConfigurationError: if `target` holds something else, or cannot be written.
        DataError: if the files are not those that were registered.
        EnvironmentFault: if the store does not give them.
    """

    def fetch(folder: Path) -> None:
        _fetch_all(_fetcher(remote, version), version, folder, progress)

    return receive_package(target, sha256=version.sha256, fill=fetch)


def _fetch_all(fetch: "_Fetcher", version: Registration, folder: Path, progress: Progress) -> None:
    """Fetch the manifest, then what it lists."""
    fetch(MANIFEST, folder / MANIFEST, LARGEST_MANIFEST_BYTES, version.sha256)
    files = _listed(folder / MANIFEST, version)
    largest = LARGEST_SMALL_FILE_BYTES + BYTES_PER_PARAMETER * max(0, version.n_parameters)
    for count, (name, expected) in enumerate(files.items(), start=1):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        fetch(name, place, largest, expected)
        progress(count, len(files))


def _listed(manifest: Path, version: Registration) -> dict[str, str]:
    """Return the files of a manifest, none of which may leave its folder."""
    try:
        files = json.loads(manifest.read_bytes())["files"]
        usable = 0 < len(files) <= MOST_FILES and all(map(_stays_inside, files))
        hashes = all(isinstance(found, str) for found in files.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        usable = hashes = False
    if not usable or not hashes:
        raise DataError(
            f"the manifest of {version_label(version)} lists what cannot be files of a package",
            hint="the server does not hold what was registered: dexsearch doctor there",
        )
    return dict(files)


def _stays_inside(name: str) -> bool:
    parts = name.split("/")
    plain = name.isprintable() and len(name) <= 200 and not any(c in name for c in "\\:")
    return plain and name != MANIFEST and not any(part in ("", ".", "..") for part in parts)


_Fetcher = Callable[[str, Path, int, str], None]
"""Fetches a file, by name in the package, to a path; at most so many bytes with that hash."""


def _fetcher(remote: RemoteRegistry, version: Registration) -> _Fetcher:
    """Return how files are fetched from this kind of store."""
    run_id = remote.places[version.name, version.version].run_id
    if not run_id:
        raise unusable(remote.uri, f"{version_label(version)} has no run, so no files")
    one_way = _from_server if is_server(remote.uri) else _from_database

    def fetch(name: str, place: Path, largest: int, expected: str) -> None:
        with told_in_one_line(remote.uri):
            one_way(remote, run_id, name, place, largest)
        found = file_sha256(place)
        if found != expected:
            raise DataError(
                f"{name!r} of {version_label(version)} has sha256 {found[:12]}.. on the server, "
                f"registered was {expected[:12]}..",
                hint="its files were changed there; dexsearch doctor in its workspace tells more",
            )

    return fetch


def _from_server(
    remote: RemoteRegistry, run_id: str, name: str, place: Path, largest: int
) -> None:
    """Stream a file, and stop where it grows larger than it may be."""
    params = {"run_uuid": run_id, "path": f"{FOLDER}/{name}"}
    with opened(remote.uri, "/get-artifact", params) as answer, place.open("wb") as file:
        if answer.status_code != 200:
            raise unusable(remote.uri, f"{name!r}: HTTP {answer.status_code}")
        for chunk in answer.iter_content(CHUNK_BYTES):
            if file.tell() + len(chunk) > largest:
                raise _too_large(name, largest)
            file.write(chunk)


def _from_database(
    remote: RemoteRegistry, run_id: str, name: str, place: Path, largest: int
) -> None:
    """Let MLflow's client find the file where the run says that its artifacts are."""
    into = place.parent / f".{sha256(name.encode()).hexdigest()[:16]}"
    into.mkdir()
    try:
        found = _downloaded(remote, run_id, name, into)
        if found.stat().st_size > largest:
            raise _too_large(name, largest)
        shutil.move(found, place)
    finally:
        shutil.rmtree(into, ignore_errors=True)


def _downloaded(remote: RemoteRegistry, run_id: str, name: str, into: Path) -> Path:
    try:
        return Path(remote.client.download_artifacts(run_id, f"{FOLDER}/{name}", str(into)))
    except OSError as error:  # a folder of another machine, for example
        raise unusable(remote.uri, f"{name!r}: {error}") from None


def _too_large(name: str, largest: int) -> DataError:
    return DataError(
        f"{name!r} is larger than {largest} bytes, so it is no file of this generator",
        hint="the server does not hold what was registered: dexsearch doctor there",
    )
