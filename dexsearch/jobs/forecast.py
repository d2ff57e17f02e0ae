"""What `tune --dry-run` tells: how large the search is, and how long it will take here.

Parameters, memory and cost are computed for configurations drawn at random from the space; the
cheapest, the median and the dearest of them by arithmetic are timed, and the others' seconds are
read off between these. What a study has trained already is not counted. Nothing is written.
"""

import os
from collections.abc import Callable
from statistics import fmean

from dexsearch.config.space import SearchSpace
from dexsearch.config.trial import TrialConfig
from dexsearch.errors import ConfigurationError, EnvironmentFault
from dexsearch.jobs.forecast_result import Forecast, ProbedSpeed
from dexsearch.jobs.plan import SearchPlan
from dexsearch.jobs.planned_data import exposed_as, image_counts
from dexsearch.jobs.probe import ImageCounts, seconds_per_epoch
from dexsearch.jobs.pruning_model import expected_length
from dexsearch.jobs.space_size import continuous_keys, draw_configurations, n_configurations
from dexsearch.ledger.study import LEDGER_NAME, read_study

N_DRAWN = 128
_PLACES = {"median": 0.5, "dearest": 1.0, "cheapest": 0.0}  # where two are one, the later name


def forecast(plan: SearchPlan, *, tell: Callable[[str], None]) -> Forecast:
    """Draw configurations, time three of them and say what the search will take.

    Takes some seconds; longer where one batch of the dearest configuration does.

    Args:
        plan: from `plan_search`.
        tell: is given a line before each measurement.

    Raises:
        ConfigurationError: if no configuration of the space can be run within its limits.
        EnvironmentFault: if a timed configuration does not fit into memory.
    """
    import torch

    from dexsearch.models.counting import n_generator_parameters
    from dexsearch.training.memory import training_memory_bytes

    space, images = plan.space, image_counts(plan)
    drawn = _drawn(space)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = [n_generator_parameters(config) for config in drawn]
    n_images = images.train + images.validation
    memory = [
        training_memory_bytes(config, plan.size_px, n_images=n_images, device_type=device)
        for config in drawn
    ]
    probes, mean = _timed(drawn, plan, images, tell)
    length = expected_length(space.pruner, epochs=space.epochs, trials=space.trials)
    unpruned = epochs_left(plan)
    return Forecast(
        plan=plan,
        n_configurations=n_configurations(space),
        n_continuous=len(continuous_keys(space)),
        parameters=(min(sizes), max(sizes)),
        memory_bytes=(min(memory), max(memory)),
        device=device,
        probes=probes,
        seconds_per_epoch=mean,
        at_once=_at_once(plan, images),
        epochs_unpruned=unpruned,
        epochs_expected=unpruned * length.epochs / space.epochs,
        pruning_model=length.model,
    )


def epochs_left(plan: SearchPlan) -> int:
    """Return the epochs that the study still lacks if nothing more is pruned."""
    space = plan.space
    if not (plan.folder / LEDGER_NAME).exists():
        return space.trials * space.epochs
    record = read_study(plan.folder)
    n_new = max(0, space.trials - len(record.trials))
    begun = sum(space.epochs - trial.last_epoch for trial in record.in_state("running"))
    return n_new * space.epochs + begun


def _drawn(space: SearchSpace) -> tuple[TrialConfig, ...]:
    found = draw_configurations(space, N_DRAWN, seed=space.sampler.seed)
    if not found:
        raise ConfigurationError(
            f"none of {N_DRAWN} configurations drawn from the space can be run; its values "
            "contradict each other in every combination that was drawn"
        )
    return found


def _timed(
    drawn: tuple[TrialConfig, ...],
    plan: SearchPlan,
    images: ImageCounts,
    tell: Callable[[str], None],
) -> tuple[tuple[ProbedSpeed, ...], float]:
    """Time the cheapest, the median and the dearest; return them and the mean over all."""
    import numpy as np

    from dexsearch.models.cost import step_multiply_adds

    costs = [step_multiply_adds(config, plan.size_px) for config in drawn]
    ordered = sorted(range(len(drawn)), key=lambda index: costs[index])
    chosen = {
        costs[ordered[index]]: (label, ordered[index])
        for label, place in _PLACES.items()
        for index in (round(place * (len(ordered) - 1)),)
    }
    probes, exposed = [], exposed_as(plan)
    for cost, (label, index) in sorted(chosen.items()):
        tell(f"measuring an epoch of the {label} configuration")
        seconds = seconds_per_epoch(
            drawn[index], plan.size_px, images, cpus=plan.space.resources.cpus, exposed=exposed
        )
        probes.append(ProbedSpeed(label, cost, seconds))
    known = [probe.multiply_adds for probe in probes]
    seconds_of = np.interp(costs, known, [probe.seconds_per_epoch for probe in probes])
    return tuple(probes), fmean(seconds_of.tolist())


def _at_once(plan: SearchPlan, images: ImageCounts) -> int:
    """Return how many trials run at once on this machine, as the search itself would count."""
    import torch

    from dexsearch.search.packing import (
        gpus_per_trial,
        largest_need_bytes,
        n_concurrent,
        n_slots,
    )  # fmt: skip

    space, n_images = plan.space, images.train + images.validation
    total = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
    gpus = gpus_per_trial(
        space.resources,
        total,
        need_bytes=largest_need_bytes(space, plan.size_px, n_images=n_images),
        memory_bytes=torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else None,
        n_trials=space.trials,
    )
    request = {"cpu": float(space.resources.cpus), "gpu": gpus}
    try:
        slots = n_slots(total, request)
    except EnvironmentFault:
        return 1  # meant for a larger machine; its time is told as if one trial fitted here
    return n_concurrent(slots, space.trials)
