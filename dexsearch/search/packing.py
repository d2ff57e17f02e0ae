"""How many trials run at once: what one needs against what the machines have.

A GPU takes as many as the largest need of a search space leaves room for.
"""

from collections.abc import Callable, Mapping

from dexsearch.config.dependencies import drawing_order
from dexsearch.config.space import IntRange, ResourcesConfig, Scalar, SearchSpace, extreme_values
from dexsearch.errors import ConfigurationError, EnvironmentFault
from dexsearch.search.limits import broken_limit
from dexsearch.training.memory import parameter_counts, training_memory_bytes

_USED = 0.9
"""Part of a GPU's memory that estimates may fill; the rest is their error."""

_ROUNDS = 2
_MOST_STEPS = 32


def largest_need_bytes(space: SearchSpace, size_px: tuple[int, int], *, n_images: int) -> int:
    """Return the memory of the hungriest configuration that is trained, by estimate, on a GPU.

    Each searched key in turn takes the value that needs most, twice over: needs grow with every
    key by itself, so not all combinations have to be tried. Where `limits.parameters` forbids
    some, one key's growth is at another's cost, so each is once the first to grow, values
    between the ends count as well, and the result may be a percent or so too low.
    """
    order = drawing_order(space.search)
    limited = space.limits.parameters is not None
    firsts = order if limited else order[:1]
    return max(
        (
            _climbed(
                space, [first, *order], lambda params: _need(space, params, size_px, n_images)
            )
            for first in firsts
        ),
        default=_need(space, {}, size_px, n_images),
    )


def _climbed(
    space: SearchSpace, first: list[str], need_of: Callable[[dict[str, Scalar]], int]
) -> int:
    """Return the need at the top of a climb from the smallest values, one key after the other."""
    chosen = {key: extreme_values(values)[0] for key, values in space.search.items()}
    largest = need_of(chosen)
    for key in first * _ROUNDS:
        for value in _steps(space, key):
            need = need_of({**chosen, key: value})
            if need >= largest:
                largest, chosen = need, {**chosen, key: value}
    return largest


def _steps(space: SearchSpace, key: str) -> tuple[Scalar, ...]:
    """Return the values of a key to try: the ends, and under a limit integers between them."""
    values = space.search[key]
    if space.limits.parameters is None or not isinstance(values, IntRange):
        return extreme_values(values)
    low, high = values.int
    return tuple(
        sorted({low + (high - low) * step // _MOST_STEPS for step in range(_MOST_STEPS + 1)})
    )


def trials_per_gpu(
    need_bytes: int, memory_bytes: int, *, cpus_per_gpu: float, cpus_per_trial: int, n_trials: int
) -> int:
    """Return how many trials share a GPU: at least one, as many as memory and processors allow."""
    by_memory = int(memory_bytes * _USED // max(1, need_bytes))
    by_cpus = int(cpus_per_gpu // cpus_per_trial)
    return max(1, min(by_memory, by_cpus, n_trials))


def gpus_per_trial(
    resources: ResourcesConfig, total: Mapping[str, float], *, need_bytes: int | None,
    memory_bytes: int | None, n_trials: int,
) -> float:  # fmt: skip
    """Return the part of a GPU, or the GPUs, that a trial asks for.

    Args:
        resources: of the search space; `gpu_memory_gib` goes before `memory_bytes`.
        total: `CPU` and `GPU` of all machines together.
        need_bytes: of the largest configuration; None: a GPU takes one trial.
        memory_bytes: of the smallest GPU; None: nobody can tell, so likewise.
        n_trials: how many there are to run.
    """
    if resources.gpus != "auto":
        return float(resources.gpus)
    n_gpus = int(total.get("GPU", 0.0))
    if n_gpus < 1:
        return 0.0
    if resources.gpu_memory_gib != "auto":
        memory_bytes = int(resources.gpu_memory_gib * 2**30)
    if need_bytes is None or memory_bytes is None:
        return 1.0
    return 1.0 / trials_per_gpu(
        need_bytes,
        memory_bytes,
        cpus_per_gpu=total.get("CPU", 0.0) / n_gpus,
        cpus_per_trial=resources.cpus,
        n_trials=n_trials,
    )


def n_slots(total: Mapping[str, float], request: Mapping[str, float]) -> int:
    """Return how many trials fit into a cluster at once.

    Raises:
        EnvironmentFault: if not even one does.
    """
    slots = min(
        int(total.get(name.upper(), 0.0) / amount) for name, amount in request.items() if amount
    )
    if slots < 1:
        asked = ", ".join(f"{amount:g} {name}" for name, amount in request.items() if amount)
        there = ", ".join(f"{total.get(name.upper(), 0.0):g} {name}" for name in request)
        raise EnvironmentFault(
            f"a trial needs {asked}, and the cluster has {there}",
            hint="lower resources.cpus or resources.gpus in the search space",
        )
    return slots


def n_concurrent(slots: int, n_trials: int) -> int:
    """Return how many trials run at once on this machine: a third of them, but at least two.

    With all at once the sampler would see no result before its last proposal, the pruner would
    have nothing to compare with, and each process takes some hundred megabytes. Whoever joins a
    cluster has chosen its size, so there every slot is used: see capacity.py.
    """
    return max(1, min(slots, max(2, n_trials // 3), n_trials))


def _need(
    space: SearchSpace, params: dict[str, Scalar], size_px: tuple[int, int], n_images: int
) -> int:
    """Return one configuration's need; 0 where it is not trained at all."""
    try:
        config = space.config_for(space.drawn(params), seed=0)
    except ConfigurationError:
        return 0
    n_parameters, _ = parameter_counts(config)
    if broken_limit(space.limits, n_parameters=n_parameters, latency_ms=None) is not None:
        return 0
    return training_memory_bytes(config, size_px, n_images=n_images)
