"""Running out of memory, told as an error that names the step and what helps.

Allocators say it in three ways: Python's MemoryError, torch's OutOfMemoryError on a GPU, and on a
CPU a plain RuntimeError whose text begins with a place in torch's source.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_CPU_ALLOCATOR_SAYS = "can't allocate memory"


class TrainingOutOfMemory(MemoryError):
    """A training step, or the validation after it, found no memory for its images."""

    def __init__(self, epoch: int, place: str, reason: str) -> None:
        super().__init__(epoch, place, reason)
        self.epoch = epoch
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        """Say where, why and what helps."""
        return (
            f"out of memory in epoch {self.epoch}, {self.place}: {self.reason}; lower batch_size, "
            "generator.width or discriminator.width"
        )


@contextmanager
def naming_memory(epoch: int, place: str) -> Iterator[None]:
    """Turn an allocator's error into `TrainingOutOfMemory`; other errors pass through.

    Args:
        epoch: counted from 1.
        place: what is computed, for example "step 41 (batch 5 of 12)".
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise TrainingOutOfMemory(epoch, place, reason) from error


def _reason(error: Exception) -> str | None:
    """Return what the allocator asked for; None where it was not an allocator's error."""
    first_line = (str(error).splitlines() or [""])[0]
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return first_line or "no memory is left"
    if _CPU_ALLOCATOR_SAYS in first_line:
        return first_line.partition("DefaultCPUAllocator: ")[2] or first_line
    return None
