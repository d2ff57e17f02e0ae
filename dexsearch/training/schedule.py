"""Step sizes over a run, a pure function of the step: an interrupted run continues exactly.

Nothing here has a state. At every step the rate follows from the configuration, the number of
steps before it, the steps of an epoch and the length of the run.
"""

import math

from dexsearch.config.trial import OptimizerConfig


def rate_factor(config: OptimizerConfig, step: int, *, steps_per_epoch: int, epochs: int) -> float:
    """Return what both networks' step sizes are multiplied by; above 0 and at most 1.

    Warm-up of w steps: (step + 1) / w until that reaches 1. After it `constant` stays at 1 and
    `cosine` falls as (1 + cos(pi p)) / 2, p growing evenly from 0 at the end of the warm-up to 1
    just after the last step, so that no step is without effect.

    Args:
        config: schedule and length of the warm-up in epochs.
        step: optimiser steps taken before this one.
        steps_per_epoch: whole batches of an epoch.
        epochs: length of the whole run.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step + 1 < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant" or step <= warmup:
        return 1.0
    passed = (step - warmup) / (epochs * steps_per_epoch - warmup)
    return 0.5 * (1 + math.cos(math.pi * passed))


def check_length(config: OptimizerConfig, epochs: int) -> None:
    """Return quietly where the warm-up ends within the run.

    Raises:
        ValueError: if the run would end before its warm-up does.
    """
    if config.warmup_epochs > epochs or (
        config.schedule == "cosine" and config.warmup_epochs == epochs
    ):
        raise ValueError(
            f"got optimizer.warmup_epochs={config.warmup_epochs:g} for a run of {epochs} epochs, "
            f"which leaves no time for the {config.schedule} schedule after it; "
            "lower warmup_epochs or train for more epochs"
        )


def length_that_matters(config: OptimizerConfig, epochs: int) -> int | None:
    """Return the length of a run where its steps depend on it, else None."""
    return epochs if config.schedule == "cosine" else None
