"""Where the checkpoints of a study are kept: in its own folder, in a shared one, behind a URI."""

from pathlib import Path

from dexsearch.location import below, is_uri
from dexsearch.training.checkpoint_store import checkpoint_store


def study_location(folder: Path, storage: str | None, study: str) -> str:
    """Return the folder or URI of a study's checkpoints; a folder is absolute.

    Args:
        folder: the study's own, which is taken where `storage` is None.
        storage: a folder that every node sees, or a URI such as `s3://bucket/folder`.
        study: its name, which is appended to `storage`.
    """
    if storage is None:
        return str(folder)
    return below(storage if is_uri(storage) else str(Path(storage).resolve()), study)


def trial_location(study: str, number: int) -> str:
    """Return the folder or URI of one trial's checkpoints in that of its study."""
    return below(study, "trials", str(number))


def checkpoint_for_ledger(trial: str, epoch: int, folder: Path) -> str | None:
    """Return how the ledger names a checkpoint; None if it is not there.

    Storage that does not answer just now is taken at its word: whoever reads the checkpoint
    verifies it anyway.

    Args:
        trial: folder or URI of the trial's checkpoints.
        epoch: the checkpoint's.
        folder: the study's own; what it holds is named relative to it, so that it can be moved.
    """
    try:
        if epoch not in checkpoint_store(trial).epochs():
            return None
    except ConnectionError:
        pass
    location = below(trial, f"{epoch:05d}")
    if is_uri(location) or not Path(location).is_relative_to(folder):
        return location
    return str(Path(location).relative_to(folder))
