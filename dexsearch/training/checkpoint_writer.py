"""Who writes the checkpoints of a run: the process that began or continued it last."""

import hashlib
import json
import logging
import secrets
from collections.abc import Mapping

from dexsearch.location import below
from dexsearch.training.checkpoint_store import MANIFEST, CheckpointStore, SupersededError

FORMAT = 1
_KEPT = 2
_log = logging.getLogger(__name__)


class CheckpointWriter:
    """Writes to a store, and nobody else does, until another writer takes over.

    A process that was thought to be dead, behind a network that was cut, finds at its next
    checkpoint that its run goes on elsewhere.
    """

    def __init__(self, store: CheckpointStore) -> None:
        """Take over from whoever wrote here."""
        self._store = store
        self._name = secrets.token_hex(16)
        store.set_owner(self._name)

    def save(self, epoch: int, files: Mapping[str, bytes]) -> str:
        """Write a checkpoint, keep it and the one before it, return its location.

        What is there of later epochs is deleted: this run passed it over as unusable.

        Raises:
            SupersededError: if another writer took over; nothing is written or deleted.
            OSError: if it cannot be stored; the ones before it are.
        """
        self._refuse_superseded()
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        manifest = json.dumps({"format": FORMAT, "sha256": hashes}, indent=1).encode()
        whole = {**files, MANIFEST: manifest}
        self._store.write(epoch, hashes, whole, self._refuse_superseded)
        self._drop_others(epoch)
        return below(self._store.location, f"{epoch:05d}")

    def _refuse_superseded(self) -> None:
        if self._store.owner() not in (self._name, None):
            raise SupersededError(
                f"{self._store.location}: another process continues this run; this one stops"
            )

    def _drop_others(self, saved_epoch: int) -> None:
        """Delete checkpoints beyond the saved one, and all but the newest two up to it.

        A run continues from the newest usable checkpoint. So one with a higher number was passed
        over as unusable, and would otherwise count as newer than what the run wrote since.
        """
        found = self._store.epochs()
        beyond = [epoch for epoch in found if epoch > saved_epoch]
        for epoch in beyond:
            place = below(self._store.location, f"{epoch:05d}")
            _log.warning("unusable checkpoint deleted: %s", place)
        for epoch in beyond + found[len(beyond) + _KEPT :]:
            self._store.delete(epoch)
