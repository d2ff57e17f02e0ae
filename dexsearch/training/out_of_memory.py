"""Running out of memory, told as an error that names the step and what helps.

Allocators say it in many ways: Python's MemoryError, torch's OutOfMemoryError on a GPU, and plain
RuntimeErrors of torch's CPU allocator and of NVIDIA's libraries, known by their words alone. Needs
no torch, so a search may ask, too.
"""

from collections.abc import Iterator
from contextlib import contextmanager

PHRASES = (
    "out of memory",  # CUDA itself, torch's allocator of GPU memory
    "can't allocate memory",  # torch's DefaultCPUAllocator
    "not enough memory",  # the same on Windows
    "cannot allocate memory",  # the operating system
    "_status_alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED and its like of cuDNN, cuSOLVER, ...
    "_allocation_failed",  # CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED since cuDNN 9
)
"""Words that only an allocator without memory uses, in small letters."""


class TrainingOutOfMemory(MemoryError):
    """Setting up a run, a training step or the validation after it found no memory.

    Epoch 0 is what comes before the first.
    """

    def __init__(self, epoch: int, place: str, reason: str) -> None:
        super().__init__(epoch, place, reason)
        self.epoch = epoch
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        """Say where, why and what helps."""
        where = f"in epoch {self.epoch}, {self.place}" if self.epoch else f"while {self.place}"
        return (
            f"out of memory {where}: {self.reason}; lower batch_size, generator.width or "
            "discriminator.width"
        )


def tells_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory is used up, on a GPU or beside it."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(phrase in message for phrase in PHRASES)


@contextmanager
def naming_memory(epoch: int, place: str) -> Iterator[None]:
    """Turn an allocator's error into `TrainingOutOfMemory`; other errors pass through.

    Args:
        epoch: counted from 1; 0 before the first.
        place: what is computed, for example "step 41 (batch 5 of 12)".
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not tells_of_memory(error):
            raise
        raise TrainingOutOfMemory(epoch, place, _reason(error)) from error


def _reason(error: Exception) -> str:
    """Return what the allocator asked for, without the place in torch's source."""
    first_line = (str(error).splitlines() or [""])[0]
    return first_line.partition("DefaultCPUAllocator: ")[2] or first_line or "no memory is left"
