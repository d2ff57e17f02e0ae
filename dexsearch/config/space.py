"""A search space: fixed values, searched values, pruner, sampler, data and resources."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError, model_validator

from dexsearch.config.base import Config, did_you_mean, first_problem
from dexsearch.config.data import PhantomDataConfig
from dexsearch.config.trial import Task, TrialConfig, known_trial_keys, trial_config


class IntRange(Config):
    """`{int: [low, high]}`, both ends included; `log: true` for a logarithmic scale."""

    int: tuple[int, int]
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _refuse_bad_range(self.int, log=self.log)
        return self


class FloatRange(Config):
    """`{float: [low, high]}`; `log: true` for a logarithmic scale."""

    float: tuple[float, float]
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _refuse_bad_range(self.float, log=self.log)
        return self


class Choice(Config):
    """`{choice: [a, b, c]}`."""

    choice: Annotated[tuple[int | float | str | bool, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(map(repr, self.choice))) < len(self.choice):
            raise ValueError(f"choice {list(self.choice)} names a value twice")
        return self


Distribution = Annotated[
    Annotated[IntRange, Tag("int")]
    | Annotated[FloatRange, Tag("float")]
    | Annotated[Choice, Tag("choice")],
    Discriminator(lambda value: _distribution_kind(value)),
]
TrialKey = Annotated[str, AfterValidator(lambda key: _known_trial_key(key))]
Scalar = bool | int | float | str


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


class PrunerConfig(Config):
    """When a trial may be stopped early, judged on the objective of validation subjects."""

    kind: Literal["median", "percentile", "successive_halving", "hyperband", "none"] = (
        "successive_halving"
    )
    min_epochs: Annotated[int, Field(ge=1)] = 10
    """Epochs before the first decision; adversarial SSIM is noisy early on."""

    reduction: Annotated[int, Field(ge=2)] = 3
    """One in `reduction` trials survives a rung (successive halving and hyperband)."""

    percentile: Annotated[float, Field(gt=0, lt=100)] = 50.0
    """Trials below this percentile of the complete ones stop (percentile pruner)."""

    immune_every: Annotated[int, Field(ge=0)] = 8
    """One random trial in so many is never stopped, so that pruning can be audited; 0: none."""


class SamplerConfig(Config):
    """How configurations are proposed."""

    kind: Literal["tpe", "random", "qmc"] = "tpe"
    seed: Annotated[int, Field(ge=0)] = 0


class ResourcesConfig(Config):
    """What one trial occupies."""

    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Literal["auto"] | Annotated[float, Field(ge=0)] = "auto"
    """`auto`: one where there is a GPU, else none."""


class SearchSpace(Config):
    """A search as a YAML file describes it."""

    task: Task
    """What to predict; the default head of every trial."""

    data: DataConfig
    objective: Literal["val_ssim", "val_ssim_bone", "val_ssim_tissue"] = "val_ssim"
    """The masked SSIM that is maximised; `val_ssim` is the mean over the head's targets."""

    trials: Annotated[int, Field(ge=1)] = 64
    """Total number of trials of the study."""

    epochs: Annotated[int, Field(ge=1)] = 60
    """Epochs that a surviving trial trains for."""

    n_register: Annotated[int, Field(ge=0, alias="register")] = 3
    """How many of the best complete trials become registered versions."""

    pruner: PrunerConfig = PrunerConfig()
    sampler: SamplerConfig = SamplerConfig()
    resources: ResourcesConfig = ResourcesConfig()
    enqueue: tuple[dict[TrialKey, Scalar], ...] = ()
    """Known good configurations, tried first: searched keys and their values."""

    search: dict[TrialKey, Distribution] = {}
    """Dotted keys of `TrialConfig` and the values to try."""

    fixed: dict[TrialKey, Scalar] = {}
    """Dotted keys of `TrialConfig` and their one value."""

    @model_validator(mode="after")
    def _leave_epochs_to_prune(self) -> Self:
        if self.pruner.kind != "none" and self.pruner.min_epochs >= self.epochs:
            raise ValueError(
                f"pruner.min_epochs={self.pruner.min_epochs} never lets a trial be pruned, "
                f"because epochs={self.epochs}; lower min_epochs, raise epochs or set "
                "pruner.kind to none"
            )
        return self

    @model_validator(mode="after")
    def _keys_stand_once(self) -> Self:
        both = sorted(set(self.search) & set(self.fixed))
        if both:
            raise ValueError(f"{both[0]!r} is both searched and fixed; remove one of the two")
        return self

    @model_validator(mode="after")
    def _values_fit_their_fields(self) -> Self:
        for key, value in self.fixed.items():
            _check_alone(key, value)
        for key, distribution in self.search.items():
            for value in extreme_values(distribution):
                _check_alone(key, value)
        return self

    @model_validator(mode="after")
    def _enqueued_values_can_be_drawn(self) -> Self:
        for configuration in self.enqueue:
            for key, value in configuration.items():
                if key not in self.search:
                    raise ValueError(f"{key!r} is enqueued but not searched; add it to 'search'")
                if not can_draw(self.search[key], value):
                    raise ValueError(
                        f"{key!r} is enqueued as {value!r}, which its range under 'search' does "
                        "not contain; widen the range or change the value"
                    )
        return self

    @model_validator(mode="after")
    def _every_head_has_the_objective(self) -> Self:
        target = self.objective.removeprefix("val_ssim").lstrip("_")
        heads = self.search.get("task", Choice(choice=(self.fixed.get("task", self.task),)))
        for head in extreme_values(heads):
            if target and target not in Task(str(head)).targets:
                raise ValueError(
                    f"objective {self.objective!r} needs a head that predicts {target}, and "
                    f"{head} does not; choose val_ssim or another task"
                )
        return self

    def config_for(self, params: dict[str, Scalar], *, seed: int) -> TrialConfig:
        """Return the configuration of one trial: defaults, then `fixed`, then `params`."""
        return trial_config({"task": self.task.value, "seed": seed, **self.fixed, **params})


def extreme_values(distribution: Distribution) -> tuple[Scalar, ...]:
    """Return the ends of a range, or every value of a choice."""
    match distribution:
        case IntRange():
            return distribution.int
        case FloatRange():
            return distribution.float
        case Choice():
            return distribution.choice


def can_draw(distribution: Distribution, value: Scalar) -> bool:
    """Tell whether a value lies in a range or among the choices."""
    match distribution:
        case Choice():
            return any(value == c and type(value) is type(c) for c in distribution.choice)
        case IntRange():
            low, high = distribution.int
            return type(value) is int and low <= value <= high
        case FloatRange():
            first, last = distribution.float
            return type(value) in (int, float) and first <= float(value) <= last


def _distribution_kind(value: Any) -> str | None:
    """Tell which distribution a mapping is; None lets pydantic list what is allowed."""
    keys = set(value) if isinstance(value, dict) else set(getattr(type(value), "model_fields", ()))
    return next((kind for kind in ("int", "float", "choice") if kind in keys), None)


def _known_trial_key(key: str) -> str:
    known = known_trial_keys()
    if key not in known:
        guess = did_you_mean(key, known)
        message = f"unknown key {key!r}; known keys: {', '.join(known)}"
        raise ValueError(f"{message}; {guess}" if guess else message)
    return key


def _check_alone(key: str, value: Scalar) -> None:
    """Raise ValueError if the field behind `key` does not take `value`."""
    model: type[Config] = TrialConfig
    *parents, leaf = key.split(".")
    for parent in parents:
        model = cast("type[Config]", model.model_fields[parent].annotation)
    try:
        model.model_validate({leaf: value})
    except ValidationError as error:
        if error.errors()[0]["loc"]:
            raise ValueError(f"{key}: {first_problem(error, model, with_key=False)}") from None


def _refuse_bad_range(ends: tuple[float, float], *, log: bool) -> None:
    low, high = ends
    if not low < high:
        raise ValueError(f"range [{low}, {high}] is empty; write the lower end first")
    if log and low <= 0:
        raise ValueError(f"range [{low}, {high}] cannot be logarithmic; start above 0")
