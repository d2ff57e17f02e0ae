"""Who writes the checkpoints of a run: the process that continued it last, with the highest rank.

The mark of a writer is `<token>.<attempt>.<random>`: the fencing token of the lease under which
its search handed the run out, and how often that search had handed it out before.
"""

import contextlib
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
    checkpoint that its run goes on elsewhere; one that comes back before its first checkpoint
    is refused by its rank.
    """

    def __init__(self, store: CheckpointStore, *, rank: tuple[int, int] = (0, 0)) -> None:
        """Take over from whoever wrote here with this rank or a lower one.

        Args:
            store: where to write.
            rank: token of the lease and attempt under it.

        Raises:
            SupersededError: if a writer of a higher rank has taken over; nothing is changed.
            OSError: if the place cannot be read or written.
        """
        self._store = store
        self._mark = f"{rank[0]}.{rank[1]}.{secrets.token_hex(16)}"
        found = _rank_of(store.owner())
        if found > rank:
            raise self._superseded(found)
        self._found = frozenset(store.epochs())
        store.set_owner(self._mark)

    def save(self, epoch: int, files: Mapping[str, bytes]) -> str:
        """Write a checkpoint, keep it and the one before it, return its location.

        What was there of later epochs when this writer began is deleted: the run passed it over
        as unusable. What came since is another writer's.

        Raises:
            SupersededError: if another writer took over; nothing is deleted, and at most this
                one checkpoint written, which is of the same run.
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
        mark = self._store.owner()
        if mark != self._mark:
            raise self._superseded(_rank_of(mark))

    def _superseded(self, by: tuple[int, int]) -> SupersededError:
        token, attempt = by
        return SupersededError(
            f"{self._store.location}: another process continues this run (lease {token}, attempt "
            f"{attempt}); this one stops",
            token=token,
        )

    def _drop_others(self, saved_epoch: int) -> None:
        """Delete checkpoints beyond the saved one, and all but the newest two up to it.

        A run continues from the newest usable checkpoint. So one with a higher number was passed
        over as unusable, and would otherwise count as newer than what the run wrote since. What
        cannot be deleted now is tried again after the next checkpoint.

        Raises:
            SupersededError: if another writer took over while this one saved.
        """
        with contextlib.suppress(ConnectionError):
            found = self._store.epochs()
            self._refuse_superseded()
            beyond = [epoch for epoch in found if epoch > saved_epoch and epoch in self._found]
            for epoch in beyond:
                place = below(self._store.location, f"{epoch:05d}")
                _log.warning("unusable checkpoint deleted: %s", place)
            earlier = [epoch for epoch in found if epoch <= saved_epoch]
            for epoch in beyond + earlier[_KEPT:]:
                self._store.delete(epoch)


def _rank_of(mark: str | None) -> tuple[int, int]:
    """Return token and attempt of a mark; (0, 0) of none, and of those of earlier versions."""
    token, _, rest = (mark or "").partition(".")
    attempt, _, _ = rest.partition(".")
    if token.isdecimal() and attempt.isdecimal():
        return int(token), int(attempt)
    return 0, 0
