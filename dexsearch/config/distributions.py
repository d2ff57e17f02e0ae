"""What a searched key may take: a range of integers or floats, or a choice."""

from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from dexsearch.config.base import Config
from dexsearch.config.conditions import Condition, Scalar, parse_condition


class Searched(Config):
    """What every distribution may carry beside its values."""

    when: str | None = None
    """`KEY == VALUE` or `KEY != VALUE`: drawn only in trials where that holds."""

    @field_validator("when")
    @classmethod
    def _readable(cls, when: str | None) -> str | None:
        return None if when is None else str(parse_condition(when))

    @property
    def condition(self) -> Condition | None:
        """What `when` says."""
        return None if self.when is None else parse_condition(self.when)


class IntRange(Searched):
    """`{int: [low, high]}`, both ends included; `log: true` for a logarithmic scale."""

    int: tuple[int, int]
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _refuse_bad_range(self.int, log=self.log)
        return self


class FloatRange(Searched):
    """`{float: [low, high]}`; `log: true` for a logarithmic scale."""

    float: tuple[float, float]
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _refuse_bad_range(self.float, log=self.log)
        return self


class Choice(Searched):
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


def _refuse_bad_range(ends: tuple[float, float], *, log: bool) -> None:
    low, high = ends
    if not low < high:
        raise ValueError(f"range [{low}, {high}] is empty; write the lower end first")
    if log and low <= 0:
        raise ValueError(f"range [{low}, {high}] cannot be logarithmic; start above 0")
