"""How many trials share a GPU, and what is done when its memory does not suffice for all.

The estimate behind `gpus: auto` (memory.py of training) can be too small for what a GPU really
holds. Then a trial that ran out of memory beside others is put back, and half as many run at
once from there on; one that was alone has failed.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class GpuSharing:
    """Trials at once on each of `n_gpus` GPUs; without GPUs nothing is shared."""

    n_gpus: int = 0
    per_gpu: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that let nothing run."""
        if self.n_gpus < 0 or self.per_gpu < 1:
            raise ValueError(
                f"expected n_gpus >= 0 and per_gpu >= 1, got {self.n_gpus} and {self.per_gpu}"
            )

    @property
    def is_shared(self) -> bool:
        """Whether a trial may have a neighbour on its GPU."""
        return self.n_gpus > 0 and self.per_gpu > 1

    @property
    def at_once(self) -> int | None:
        """Trials at once on all GPUs; None where GPUs set no limit."""
        return self.n_gpus * self.per_gpu if self.n_gpus else None

    @property
    def share(self) -> float:
        """Part of a GPU for each trial."""
        return 1.0 / self.per_gpu

    def halved(self) -> "GpuSharing":
        """Return the sharing with half as many trials per GPU, at least one."""
        return replace(self, per_gpu=max(1, self.per_gpu // 2))


NO_GPU = GpuSharing()
