"""How many trials fit on a GPU: the largest need of a search space against the GPU's memory."""

from dexsearch.config.space import Scalar, SearchSpace, extreme_values
from dexsearch.errors import ConfigurationError
from dexsearch.training.memory import training_memory_bytes

_USED = 0.9
"""Part of a GPU's memory that estimates may fill; the rest is their error."""

_ROUNDS = 2


def largest_need_bytes(space: SearchSpace, size_px: tuple[int, int], *, n_images: int) -> int:
    """Return the memory of the hungriest configuration, by estimate, on a GPU.

    Each searched key in turn takes the end of its range that needs most, twice over: needs grow
    with every key by itself, so not all combinations have to be tried.
    """
    chosen: dict[str, Scalar] = {}
    largest = _need(space, chosen, size_px, n_images)
    for _ in range(_ROUNDS):
        for key, distribution in space.search.items():
            for value in extreme_values(distribution):
                need = _need(space, {**chosen, key: value}, size_px, n_images)
                if need >= largest:
                    largest, chosen = need, {**chosen, key: value}
    return largest


def trials_per_gpu(
    need_bytes: int, memory_bytes: int, *, cpus_per_gpu: float, cpus_per_trial: int, n_trials: int
) -> int:
    """Return how many trials share a GPU: at least one, as many as memory and processors allow."""
    by_memory = int(memory_bytes * _USED // max(1, need_bytes))
    by_cpus = int(cpus_per_gpu // cpus_per_trial)
    return max(1, min(by_memory, by_cpus, n_trials))


def _need(
    space: SearchSpace, params: dict[str, Scalar], size_px: tuple[int, int], n_images: int
) -> int:
    """Return one configuration's need; 0 where it cannot be trained at all."""
    try:
        config = space.config_for(params, seed=0)
    except ConfigurationError:
        return 0
    return training_memory_bytes(config, size_px, n_images=n_images)
