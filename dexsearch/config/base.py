"""What every configuration class shares: immutability, and problems told in one line."""

import difflib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError


class Config(BaseModel):
    """Base: immutable, unknown keys refused, help taken from attribute docstrings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


def first_problem(error: ValidationError, model: type[Config], *, with_key: bool = True) -> str:
    """Turn pydantic's first complaint into one line: what was given and what is allowed.

    Args:
        error: what validation raised.
        model: the class that was validated; its keys are listed where one is unknown.
        with_key: begin with the key; False where the caller names it.
    """
    first = error.errors()[0]
    names = [str(part) for part in first["loc"] if part not in ("int", "float", "choice", "[key]")]
    where = ".".join(names)
    if first["type"] == "extra_forbidden":
        known = _keys_beside(model, first["loc"])
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


def _keys_beside(model: type[Config], location: tuple[int | str, ...]) -> list[str]:
    """List the keys known at the place of a refused one."""
    for part in location[:-1]:
        if part not in model.model_fields:
            candidates = _config_classes_of(model)  # a dictionary's key, or the tag of a union
            model = next((c for c in candidates if str(part) in c.model_fields), model)
            continue
        model = next(iter(_configs_in(model.model_fields[str(part)].annotation)), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _config_classes_of(model: type[Config]) -> list[type[Config]]:
    return [c for field in model.model_fields.values() for c in _configs_in(field.annotation)]


def _configs_in(annotation: Any) -> list[type[Config]]:
    """Return the configuration classes that an annotation mentions, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [c for argument in get_args(annotation) for c in _configs_in(argument)]


def did_you_mean(given: str, known: Iterable[str]) -> str | None:
    """Return a question that names the known word closest to `given`, if one is close."""
    close = difflib.get_close_matches(given, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else None
