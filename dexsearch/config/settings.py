"""The settings of a search beside its parameters: data, pruner, sampler, resources, limits."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dexsearch.config.base import Config
from dexsearch.config.data import PhantomDataConfig


class DataConfig(Config):
    """Where the pairs come from: exactly one of `phantom` and `path`."""

    phantom: PhantomDataConfig | None = None
    path: Path | None = None
    """A dataset folder; relative to the workspace, else to the current folder."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.phantom is None) == (self.path is None):
            raise ValueError("give exactly one of 'phantom' and 'path'")
        return self


_FIRST_DECISION_PART = 9  # chosen on recorded curves, see README.md


class PrunerConfig(Config):
    """When a trial may be stopped early, judged on the objective of validation subjects."""

    kind: Literal["median", "percentile", "successive_halving", "hyperband", "none"] = (
        "successive_halving"
    )
    min_epochs: Annotated[int, Field(ge=1)] = 7
    """Epochs before the first decision; adversarial SSIM is noisy early on. By default a ninth of
    all epochs: on recorded curves that did best among what stops at most half of the good ones."""

    reduction: Annotated[int, Field(ge=2)] = 4
    """One in `reduction` trials survives a rung (successive halving and hyperband)."""

    percentile: Annotated[float, Field(gt=0, lt=100)] = 50.0
    """Trials below this percentile of the complete ones stop (percentile pruner)."""

    immune_every: Annotated[int, Field(ge=0)] = 8
    """One random trial in so many is never stopped, so that pruning can be audited; 0: none."""


def with_first_decision(values: Any) -> Any:
    """Let `pruner.min_epochs` follow from `epochs` where a search space does not say it."""
    if not isinstance(values, dict):
        return values
    pruner, epochs = values.get("pruner", {}), values.get("epochs")
    if not isinstance(pruner, dict) or "min_epochs" in pruner or type(epochs) is not int:
        return values
    first = max(1, round(epochs / _FIRST_DECISION_PART))
    return {**values, "pruner": {**pruner, "min_epochs": first}}


class SamplerConfig(Config):
    """How configurations are proposed."""

    kind: Literal["tpe", "random", "qmc", "gp", "cmaes"] = "qmc"
    """`tpe` learns which values go well together, conditional ones and choices too, also from
    pruned trials and broken limits. `gp` learns from complete trials, and only the keys that every
    trial draws; `cmaes` likewise, and only those that are ranges, of which it needs two; the other
    keys are then drawn by TPE, each by itself, which a search says at its start. `qmc` spreads
    evenly, a coordinate for every key, `random` independently; neither learns."""

    seed: Annotated[int, Field(ge=0)] = 0


class ResourcesConfig(Config):
    """What one trial occupies."""

    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Literal["auto"] | Annotated[float, Field(ge=0)] = "auto"
    """`auto`: where there are GPUs, the part of one that the largest configuration needs; a part
    such as 0.25 lets four trials share a GPU; 0: none."""

    gpu_memory_gib: Literal["auto"] | Annotated[float, Field(gt=0)] = "auto"
    """Memory of each GPU, for `gpus: auto`; `auto` asks the nodes."""

    hang_s: Annotated[float, Field(ge=0)] = 60.0
    """A trial that is silent for so long, and for ten times as long as an epoch takes, is taken
    for hung: its process is killed, and it continues from its checkpoint. 0: never."""

    disk_wait_s: Annotated[float, Field(ge=0)] = 14_400.0
    """How long a search waits while a disk is short of space, or storage does not answer, before
    it ends to be continued."""


class LimitsConfig(Config):
    """What a generator may need.

    A trial over a limit ends, is never ranked, and counts as a broken constraint for the sampler.
    """

    parameters: Annotated[int, Field(ge=1)] | None = None
    """Most parameters of the generator, counted before anything is trained."""

    latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Longest time for one image in milliseconds, measured on the trial's device after its first
    epoch. It depends on the machine and on what else runs there: leave a margin."""
