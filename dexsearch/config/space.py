"""A search space: fixed values, searched values, and the settings of the search."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, cast

from pydantic import AfterValidator, Field, ValidationError, model_validator

from dexsearch.config.base import Config, first_problem
from dexsearch.config.conditions import Scalar, written
from dexsearch.config.dependencies import (
    conditions_of,
    drawing_order,
    known_trial_key,
    refuse_bad_conditions,
)
from dexsearch.config.distributions import (
    Choice,
    Distribution,
    FloatRange,
    IntRange,
    can_draw,
    extreme_values,
)
from dexsearch.config.settings import (
    DataConfig,
    LimitsConfig,
    PrunerConfig,
    ResourcesConfig,
    SamplerConfig,
    with_first_decision,
)
from dexsearch.config.trial import Task, TrialConfig, trial_config

__all__ = [
    "Choice",
    "DataConfig",
    "Distribution",
    "FloatRange",
    "IntRange",
    "LimitsConfig",
    "PrunerConfig",
    "ResourcesConfig",
    "SamplerConfig",
    "Scalar",
    "SearchSpace",
    "can_draw",
    "extreme_values",
]

TrialKey = Annotated[str, AfterValidator(known_trial_key)]


class SearchSpace(Config):
    """A search as a YAML file describes it."""

    task: Task
    """What to predict; the default head of every trial."""

    data: DataConfig
    objective: Literal["val_ssim", "val_ssim_bone", "val_ssim_tissue"] = "val_ssim"
    """The masked SSIM that is maximised; `val_ssim` is the mean over the head's targets, so it
    compares heads of the same targets only."""

    trials: Annotated[int, Field(ge=1)] = 64
    """Total number of trials of the study."""

    epochs: Annotated[int, Field(ge=1)] = 60
    """Epochs that a surviving trial trains for."""

    n_register: Annotated[int, Field(ge=0, alias="register")] = 3
    """How many of the best complete trials become registered versions."""

    pruner: PrunerConfig = PrunerConfig()
    sampler: SamplerConfig = SamplerConfig()
    resources: ResourcesConfig = ResourcesConfig()
    limits: LimitsConfig = LimitsConfig()
    enqueue: tuple[dict[TrialKey, Scalar], ...] = ()
    """Known good configurations, tried first: searched keys and their values."""

    search: dict[TrialKey, Distribution] = {}
    """Dotted keys of `TrialConfig` and the values to try, each perhaps with `when`."""

    fixed: dict[TrialKey, Scalar] = {}
    """Dotted keys of `TrialConfig` and their one value."""

    @model_validator(mode="before")
    @classmethod
    def _decide_from_a_ninth(cls, values: Any) -> Any:
        return with_first_decision(values)

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
    def _conditions_make_sense(self) -> Self:
        refuse_bad_conditions(self.search, self.constant)
        return self

    @model_validator(mode="after")
    def _sampler_has_something_to_move(self) -> Self:
        ranges = [
            key for key, values in self.search.items()
            if not isinstance(values, Choice) and self.is_in_every_trial(key)
        ]  # fmt: skip
        if self.sampler.kind == "cmaes" and len(ranges) < 2:
            raise ValueError(
                "sampler.kind='cmaes' moves ranges that every trial draws and needs two of them, "
                f"got {', '.join(ranges) or 'none'}; search another range or choose tpe or gp"
            )
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
            _refuse_undrawn(self, configuration)
        return self

    @model_validator(mode="after")
    def _every_head_has_the_objective(self) -> Self:
        heads = self.search.get("task", Choice(choice=(self.fixed.get("task", self.task),)))
        _refuse_incomparable([Task(str(head)) for head in extreme_values(heads)], self.objective)
        return self

    def constant(self, key: str) -> Scalar:
        """Return the value of a key that is not searched: the fixed one, else the default."""
        if key in self.fixed:
            return self.fixed[key]
        value: Any = TrialConfig(task=self.task)
        for part in key.split("."):
            value = getattr(value, part)
        return str(value) if isinstance(value, Task) else cast("Scalar", value)

    def is_drawn(self, key: str, params: Mapping[str, Scalar]) -> bool:
        """Tell whether a trial draws a searched key, given what it has drawn before it.

        A condition on a searched key that was itself not drawn does not hold.
        """
        for condition in conditions_of(self.search, key):
            parent = condition.key
            if parent in self.search and parent not in params:
                return False
            value = params[parent] if parent in self.search else self.constant(parent)
            if not condition.holds_for(value):
                return False
        return True

    def is_in_every_trial(self, key: str) -> bool:
        """Tell whether no condition on another searched key decides on a searched key."""
        return all(
            condition.key not in self.search and condition.holds_for(self.constant(condition.key))
            for condition in conditions_of(self.search, key)
        )

    def drawn(self, params: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return those of the given parameters whose conditions hold, in the order of drawing."""
        kept: dict[str, Scalar] = {}
        for key in drawing_order(self.search):
            if key in params and self.is_drawn(key, kept):
                kept[key] = params[key]
        return kept

    def config_for(self, params: dict[str, Scalar], *, seed: int) -> TrialConfig:
        """Return the configuration of one trial: defaults, then `fixed`, then `params`."""
        return trial_config({"task": self.task.value, "seed": seed, **self.fixed, **params})


def _refuse_incomparable(heads: Sequence[Task], objective: str) -> None:
    """Raise ValueError unless the objective means the same images for every head."""
    target = objective.removeprefix("val_ssim").lstrip("_")
    for head in heads:
        if target and target not in head.targets:
            raise ValueError(
                f"objective {objective!r} needs a head that predicts {target}, and "
                f"{head} does not; choose val_ssim or another task"
            )
    if target or len({head.targets for head in heads}) < 2:
        return
    shared = [name for name in heads[0].targets if all(name in head.targets for head in heads)]
    advice = [f"set objective to val_ssim_{name}, which all of them have" for name in shared]
    raise ValueError(
        f"objective {objective!r} is the mean over a head's targets, and the searched heads "
        f"{', '.join(heads)} have different ones, whose scores do not compare; "
        f"{' or '.join(advice) or 'search these heads in studies of their own'}"
    )


def _refuse_undrawn(space: SearchSpace, configuration: Mapping[str, Scalar]) -> None:
    """Raise ValueError if an enqueued value would not be used, or not in every case."""
    drawn = space.drawn(configuration)
    for key in configuration:
        if key in drawn:
            continue
        for condition in conditions_of(space.search, key):
            parent = condition.key
            if parent in space.search and parent not in configuration:
                raise ValueError(
                    f"{key!r} is enqueued without a value of {parent}, which decides whether it "
                    f"is drawn (when {condition}); enqueue {parent} too"
                )
            value = configuration.get(parent, space.constant(parent))
            if not condition.holds_for(value):
                raise ValueError(
                    f"{key!r} is enqueued, but not drawn where {parent} is {written(value)} "
                    f"(when {condition}); leave it out of this configuration"
                )


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
