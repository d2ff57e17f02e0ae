"""The device of a worker process: chosen once, and how much of it a trial may take."""

import functools

import torch


@functools.cache
def training_device() -> torch.device:
    """Return the GPU that this process may see, else the CPU; the same for its whole life."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def take_share(device: torch.device, share: float) -> None:
    """Keep this process to a part of its GPU's memory; a CPU has no such limit.

    Then a trial that needs more than its part runs out of memory itself, instead of taking a
    neighbour's, and is put back to run with fewer beside it.
    """
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(share, torch.device("cuda", 0))
