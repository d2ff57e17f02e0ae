"""Where the checkpoints of one run are kept: in a folder, or as objects behind a URI.

    LOCATION/00012/              a checkpoint, by its epoch: files, and
                   manifest.json the sha256 of each of them; without it there is no checkpoint
             writer              the mark of the one who may write here

A folder is filled under another name and renamed into place. Objects cannot be renamed: the
manifest comes last and goes first, and the name of each other one begins with its hash, so that
two writers of one epoch never spoil each other's.
"""

from pathlib import Path

from dexsearch.location import is_uri
from dexsearch.training.checkpoint_folder import FolderStore
from dexsearch.training.checkpoint_interface import (
    MANIFEST,
    WRITER,
    CheckpointStore,
    SupersededError,
)
from dexsearch.training.checkpoint_objects import ObjectStore

__all__ = [
    "MANIFEST",
    "WRITER",
    "CheckpointStore",
    "FolderStore",
    "ObjectStore",
    "SupersededError",
    "checkpoint_store",
]


def checkpoint_store(location: str | Path) -> CheckpointStore:
    """Return the store at a folder or URI.

    Raises:
        ValueError: if the URI is of an unknown kind.
        ConnectionError: if nothing answers there.
    """
    place = str(location)
    return ObjectStore(place) if is_uri(place) else FolderStore(place)
