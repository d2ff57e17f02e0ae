"""How many trials share a GPU, and what is done when its memory does not suffice for all.

The estimate behind `gpus: auto` (memory.py of training) can be too small for what a GPU really
holds. Then a trial that ran out of memory beside others is put back, and half as many run at
once from there on; one that was alone has failed.
"""

from collections.abc import Callable
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

    def at_most(self, per_gpu: int | None) -> "GpuSharing":
        """Return the sharing with no more trials per GPU than that; None sets no limit."""
        return self if per_gpu is None else replace(self, per_gpu=min(self.per_gpu, per_gpu))


NO_GPU = GpuSharing()


class RunningTrials:
    """The trials that run, and under which sharing each of them was begun."""

    def __init__(self) -> None:
        self.sharing = NO_GPU
        """For trials that are begun from now on."""
        self.room: Callable[[GpuSharing], int | None] = lambda sharing: sharing.at_once
        """How many trials run at once under a sharing; None: as many as the backend asks for."""
        self.refuse_node: Callable[[str, str], bool] = lambda node, why: False
        """Keeps trials off a node for a reason; returns False where that cannot be done."""
        self._begun_under: dict[int, GpuSharing] = {}

    def __contains__(self, number: int) -> bool:
        """Tell whether a trial runs."""
        return number in self._begun_under

    def __len__(self) -> int:
        """Count the trials that run."""
        return len(self._begun_under)

    def begin(self, number: int) -> None:
        """Note that a trial runs."""
        self._begun_under[number] = self.sharing

    def end(self, number: int) -> None:
        """Note that a trial does not run any more, if it did."""
        self._begun_under.pop(number, None)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for a further trial beside those that run."""
        at_once = self.room(self.sharing)
        return at_once is not None and len(self._begun_under) >= at_once

    def put_back(self, number: int) -> str | None:
        """End a trial that ran out of memory and halve the sharing; return what to tell of it.

        Returns None, and does nothing, where the trial was alone on its GPU.
        """
        ran_under = self._begun_under.get(number, self.sharing)
        if not ran_under.is_shared:
            return None
        # Several trials may run out of memory at once; only the first of them halves.
        if self.sharing.per_gpu >= ran_under.per_gpu:
            self.sharing = ran_under.halved()
        self.end(number)
        return (
            f"out of memory with up to {ran_under.per_gpu} trials on a GPU; from now on "
            f"{self.sharing.per_gpu} at once on each"
        )
