"""Where the checkpoints of a study are kept: in its own folder, in a shared one, behind a URI."""

from pathlib import Path

from dexsearch.location import below, is_uri


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
