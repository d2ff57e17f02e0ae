"""Where the checkpoints of a study are kept: in its own folder, in a shared one, behind a URI."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dexsearch.errors import ConfigurationError, EnvironmentFault
from dexsearch.location import below, holds_a_key, is_uri, shown, why_no_place
from dexsearch.search.preflight_node import within
from dexsearch.training.checkpoint_store import checkpoint_store

if TYPE_CHECKING:
    from dexsearch.training.object_storage import ObjectStorage

_SEEN_WITHIN_S = 5.0
_ALLOWED = (
    "give a folder that every node sees, or s3://BUCKET/FOLDER (for a server of your own with "
    "?endpoint_override=HOST:PORT&scheme=http), gs://BUCKET/FOLDER, hdfs://HOST:PORT/FOLDER"
)
_KEYS = (
    "keys come from the environment of every node, such as AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY or GOOGLE_APPLICATION_CREDENTIALS, or from the machine's role"
)
_UNKNOWN_USER = ("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE", "PERMISSION_DENIED", "OAuth2",
                 "UNAUTHENTICATED", "CLIENT_TOKEN", "HTTP status 403")  # fmt: skip


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


def checkpoint_for_ledger(
    trial: str, epoch: int, folder: Path, *, tell: Callable[[str], None]
) -> str | None:
    """Return how the ledger names a checkpoint; None if it is not there.

    A trial that reports its last epoch has saved it. So where the storage cannot be looked at
    just now, the checkpoint counts as there: whoever reads it verifies it anyway.

    Args:
        trial: folder or URI of the trial's checkpoints.
        epoch: the checkpoint's.
        folder: the study's own; what it holds is named relative to it, so that it can be moved.
        tell: is given a line for people if the storage cannot be looked at.
    """
    try:
        if epoch not in checkpoint_store(trial).epochs():
            return None
    except OSError as error:
        tell(f"the last checkpoint cannot be looked at ({error}); it is taken to be there")
    location = below(trial, f"{epoch:05d}")
    if is_uri(location) or not Path(location).is_relative_to(folder):
        return location
    return str(Path(location).relative_to(folder))


class FinalCheckpoints:
    """Looks for the last checkpoint of each trial that was trained to its end."""

    def __init__(
        self, storage: str, epochs: int, folder: Path, tell: Callable[[str], None]
    ) -> None:
        """Prepare to look.

        Args:
            storage: folder or URI of the study's checkpoints.
            epochs: after which a trial is complete.
            folder: the study's own.
            tell: is given a line for people if the storage cannot be looked at.
        """
        self.is_promised = False
        """Whether trials save where this machine may see it; set by who runs them elsewhere."""
        self.n_missed = 0
        """How often one was promised and not there."""
        self._storage, self._epochs = storage, epochs
        self._folder = folder
        self._tell = tell

    def of(self, number: int) -> str | None:
        """Return how the ledger names that of a trial; None if it is not there.

        One that is promised and missing is waited for: a shared folder may show it late.
        """
        longest_s = _SEEN_WITHIN_S if self.is_promised else 0.0
        found = within(longest_s, lambda: self._found(number))
        self.n_missed += self.is_promised and found is None
        return found

    def is_missing(self, number: int) -> bool:
        """Tell whether a trial has none yet, as after a process that saved it elsewhere."""
        return self._found(number) is None

    def _found(self, number: int) -> str | None:
        trial = trial_location(self._storage, number)
        return checkpoint_for_ledger(trial, self._epochs, self._folder, tell=self._tell)


def refuse_no_place(storage: str) -> None:
    """Check by its form alone, at once, that a location can be a place for checkpoints.

    Raises:
        ConfigurationError: if it is empty, of a kind that we do not use, or has a key in it.
    """
    why = why_no_place(storage)
    if why is None and is_uri(storage) and holds_a_key(storage):
        why = "a key stands in it, which ledgers and messages would show"
    if why is not None:
        raise ConfigurationError(
            f"--storage {shown(storage)!r} cannot be used: {why}",
            hint=_KEYS if "@" in storage or why.startswith("a key") else _ALLOWED,
        )


def refuse_unusable_storage(storage: str, *, by_writing: bool) -> None:
    """Check within seconds that checkpoints can be kept in a folder or behind a URI.

    Args:
        storage: as it was asked for.
        by_writing: also write something, and delete it; otherwise nothing behind a URI is
            changed, and nothing stays in a folder.

    Raises:
        ConfigurationError: if it cannot be a place for checkpoints, or has a key in it.
        EnvironmentFault: if it does not answer, lets nobody in, or has no such bucket.
    """
    refuse_no_place(storage)
    if not is_uri(storage):
        _refuse_folder(Path(storage), by_writing=by_writing)
        return
    from dexsearch.training.object_storage import SHORT, open_storage  # noqa: PLC0415  (pyarrow)

    try:
        objects = open_storage(storage, SHORT)
        _refuse_missing_bucket(objects, storage)
        if by_writing:
            name = f"write-test-{secrets.token_hex(8)}"
            objects.put(name, b"")
            objects.delete(name)
        else:
            objects.folders()
            if objects.filesystem.type_name == "local":
                _try_writing(Path(objects.root or "/"))
    except ValueError as error:
        told = f"--storage {shown(storage)!r} cannot be used: {error}"
        raise ConfigurationError(told, hint=_KEYS if "key" in str(error) else _ALLOWED) from None
    except OSError as error:
        told = str(error).splitlines()[0].partition(" error_info=")[0][:300]
        raise EnvironmentFault(
            f"--storage {shown(storage)!r} cannot be used from here: {told}",
            hint=_KEYS
            if any(word in told for word in _UNKNOWN_USER)
            else "correct the address, or wait until the storage answers; nothing was begun",
        ) from None


def _refuse_missing_bucket(objects: "ObjectStorage", storage: str) -> None:
    if objects.bucket_is_missing():
        bucket = objects.root.partition("/")[0]
        raise EnvironmentFault(
            f"--storage {shown(storage)!r}: there is no bucket {bucket!r}",
            hint="make the bucket first, or correct its name",
        )


def _refuse_folder(folder: Path, *, by_writing: bool) -> None:
    try:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(20, "it is not a folder")
        if by_writing:
            folder.mkdir(parents=True, exist_ok=True)
        _try_writing(folder)
    except OSError as error:
        raise EnvironmentFault(
            f"--storage {str(folder)!r} cannot be used: {error.strerror}",
            hint="give a folder that every node sees and may write",
        ) from None


def _try_writing(folder: Path) -> None:
    """Make a folder in a folder, or in the nearest one above it that is there, and remove it.

    Permissions do not tell: `/proc` allows its owner everything, and a file system may be
    mounted read-only.
    """
    absolute = folder.absolute()
    there = next(path for path in (absolute, *absolute.parents) if path.exists())
    probe = there / f"write-test-{secrets.token_hex(8)}"
    probe.mkdir()
    probe.rmdir()
