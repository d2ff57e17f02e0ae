"""Whether training has saved a checkpoint, on its way to whoever runs the training.

Records say what was trained, not what was saved: storage that does not answer in mid-run costs a
checkpoint and no record. So whoever has to know listens while it asks for the next record.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TRAINED = "its last epoch is trained"
"""A note on the error of a last checkpoint that could not be saved."""

_saved: ContextVar[list[int] | None] = ContextVar("saved", default=None)


@contextmanager
def heard_saves() -> Iterator[list[int]]:
    """Yield a list that gets the epoch of each checkpoint that is saved meanwhile."""
    epochs: list[int] = []
    token = _saved.set(epochs)
    try:
        yield epochs
    finally:
        _saved.reset(token)


def tell_saved(epoch: int) -> None:
    """Tell whoever listens in this thread that a checkpoint is stored, every byte of it."""
    epochs = _saved.get()
    if epochs is not None:
        epochs.append(epoch)
