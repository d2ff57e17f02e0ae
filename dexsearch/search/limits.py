"""Limits of a search as constraints: a trial over one ends without a place in the ranking.

The parameters of the generator are counted when a trial is proposed, so that nothing is trained in
vain. The latency is measured by the worker after the first epoch; its record carries it.
"""

from dexsearch.config.space import LimitsConfig
from dexsearch.config.trial import TrialConfig
from dexsearch.models.counting import n_generator_parameters


def counted_parameters(limits: LimitsConfig, config: TrialConfig) -> int | None:
    """Return the parameters of a trial's generator; None where no limit asks for them."""
    return None if limits.parameters is None else n_generator_parameters(config)


def excesses(
    limits: LimitsConfig, *, n_parameters: int | None = None, latency_ms: float | None = None
) -> dict[str, float]:
    """Return by how much what is known breaks each limit, as a part of the limit.

    Above 0 means broken, up to 0 kept: a constraint as Optuna wants it. Relative, so that limits
    in different units weigh alike.
    """
    known = (
        ("parameters", n_parameters, limits.parameters),
        ("latency_ms", latency_ms, limits.latency_ms),
    )
    return {
        key: value / limit - 1
        for key, value, limit in known
        if value is not None and limit is not None
    }


def broken_limit(
    limits: LimitsConfig, *, n_parameters: int | None, latency_ms: float | None
) -> str | None:
    """Return the first limit that is broken, with what was found; None if none is."""
    found = excesses(limits, n_parameters=n_parameters, latency_ms=latency_ms)
    for key, excess in found.items():
        if excess <= 0:
            continue
        if key == "parameters":
            return (
                f"the generator has {n_parameters:,} parameters, "
                f"limits.parameters is {limits.parameters:,}"
            )
        return f"one image takes {latency_ms:.3g} ms, limits.latency_ms is {limits.latency_ms:g}"
    return None
