"""What every configuration class shares: immutability, and problems told in one line."""

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError


class Config(BaseModel):
    """Base: immutable, unknown keys refused, help taken from attribute docstrings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


def first_problem(error: ValidationError, *, with_key: bool = True) -> str:
    """Turn pydantic's first complaint into one line: what was given and what is allowed."""
    first = error.errors()[0]
    names = [str(part) for part in first["loc"] if part not in ("int", "float", "choice", "[key]")]
    where = ".".join(names)
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"])
        guess = did_you_mean(str(first["loc"][-1]), known)
        return f"unknown key {where!r}; known keys: {', '.join(known)}" + (
            f"; {guess}" if guess else ""
        )
    if first["type"] == "union_tag_not_found":
        return f"{where}: expected {{int: [a, b]}}, {{float: [a, b]}} or {{choice: [..]}}"
    if first["type"] == "missing":
        return f"key {where!r} is missing"
    text = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{where}: {text}" if where and with_key and "[key]" not in first["loc"] else text
    text = f"got {first['input']!r}; {text[0].lower()}{text[1:]}"
    return f"{where}: {text}" if where and with_key else text


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """List the keys known at the place of a refused one."""
    model: Any = SearchSpace
    for part in location[:-1]:
        kinds = {"int": IntRange, "float": FloatRange, "choice": Choice}
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            model = kinds.get(str(part), model)
            continue
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if _is_config(t)]
        model = inner[0] if inner else model
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_config(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, Config)


def did_you_mean(given: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {close[0]!r}?" if close else None
