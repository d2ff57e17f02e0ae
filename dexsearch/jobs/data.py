"""Make datasets: from phantoms, from CTs, from pairs that exist."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dexsearch.config.data import CtDataConfig, PhantomDataConfig
from dexsearch.errors import Interrupted

if TYPE_CHECKING:
    from dexsearch.data.rendering import MapTasks
    from dexsearch.data.store import Dataset

Progress = Callable[[int, int], None]
Tell = Callable[[str], None]


def make_phantom(
    path: Path,
    config: PhantomDataConfig,
    *,
    split_file: Path | None = None,
    address: str | None = None,
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> "Dataset":
    """Make a dataset of procedural thoraxes, or return it where it is already.

    Raises:
        Interrupted: after Ctrl-C; the same command continues.
    """
    from dexsearch.data.generate import generate_phantom

    with _continuable(path, tell):
        return generate_phantom(
            path, config, split_file=split_file, map_tasks=_map_tasks(address), progress=progress
        )


def make_from_ct(
    path: Path,
    sources: list[Path],
    config: CtDataConfig,
    *,
    bone_mask: Path | None = None,
    split_file: Path | None = None,
    address: str | None = None,
    tell: Tell,
    progress: Progress | None = None,
) -> "Dataset":
    """Make a dataset from CTs, or return it where it is already.

    Raises:
        Interrupted: after Ctrl-C; the same command continues.
    """
    from dexsearch.data.generate import generate_ct

    with _continuable(path, tell):
        return generate_ct(
            path,
            sources,
            config,
            bone_mask=bone_mask,
            split_file=split_file,
            tell=tell,
            map_tasks=_map_tasks(address),
            progress=progress,
        )


def import_dataset(
    path: Path,
    source: Path,
    *,
    size_px: int,
    input_dir: Path | None = None,
    bone_dir: Path | None = None,
    tissue_dir: Path | None = None,
    subject_pattern: str | None = None,
    split_file: Path | None = None,
    tell: Tell,
    progress: Progress | None = None,
) -> "Dataset":
    """Import foreign pairs from the folders in `source`.

    Raises:
        Interrupted: after Ctrl-C; the same command continues.
    """
    from dexsearch.data.foreign import find_folders
    from dexsearch.data.importing import import_pairs

    folders = find_folders(source, input_dir=input_dir, bone_dir=bone_dir, tissue_dir=tissue_dir)
    with _continuable(path, tell):
        return import_pairs(
            path,
            folders,
            size_px=size_px,
            subject_pattern=subject_pattern,
            split=split_file,
            tell=tell,
            progress=progress,
        )


def _map_tasks(address: str | None) -> "MapTasks":
    """Return what spreads tasks: processes of this machine, or a Ray cluster."""
    from dexsearch.data.workers import map_in_processes
    from dexsearch.search.data_tasks import map_on_ray

    return functools.partial(map_on_ray, address=address) if address else map_in_processes


@contextmanager
def _continuable(path: Path, tell: Tell | None) -> Iterator[None]:
    """Tell Ctrl-C as what it is here: nothing is lost. Tell when there was nothing to do."""
    was_there = (path / "manifest.json").is_file()
    try:
        yield
        if was_there and tell is not None:
            tell(f"{path} was there already, made by the same request")
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; the finished images of {str(path)!r} are kept",
            hint="the same command continues where it stopped",
        ) from None
