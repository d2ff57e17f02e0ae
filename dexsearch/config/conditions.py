"""One condition on a trial's configuration: `KEY == VALUE` or `KEY != VALUE`.

A searched key is drawn where all of its conditions hold: the one written as `when`, and the one
that follows from what the key means, because a discriminator exists only beside an adversarial
loss. A condition on a key that was itself not drawn does not hold, whichever way it is written.
"""

import re
from dataclasses import dataclass

Scalar = bool | int | float | str

_WRITTEN = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(==|!=)\s*('(?:[^']|'')*'|\"[^\"]*\"|\S+)\s*")
_QUOTED = re.compile(r"'((?:[^']|'')*)'|\"([^\"]*)\"")
_PLAIN = re.compile(r"[^\s'\"]+")
_OF_THE_DISCRIMINATOR = ("discriminator.", "optimizer.discriminator_ratio")


@dataclass(frozen=True, slots=True)
class Condition:
    """`key` has (`equal`) or has not the value `value`."""

    key: str
    equal: bool
    value: Scalar

    def holds_for(self, value: Scalar) -> bool:
        """Tell whether the condition holds where `key` has `value`."""
        alike = isinstance(value, bool) == isinstance(self.value, bool) and value == self.value
        return alike == self.equal

    def __str__(self) -> str:
        """Return the condition as it is written in a search space."""
        return f"{self.key} {'==' if self.equal else '!='} {written(self.value)}"


WITH_DISCRIMINATOR = Condition("loss.adversarial", equal=False, value="none")


def parse_condition(text: str) -> Condition:
    """Read a condition as it is written in a search space.

    Raises:
        ValueError: if it is anything but a key, `==` or `!=`, and one word or quoted text.
    """
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError(
            f"when {text!r} is not a condition; write KEY == VALUE or KEY != VALUE, for example "
            f"'{WITH_DISCRIMINATOR}'"
        )
    key, operator, value = match.groups()
    return Condition(key, operator == "==", _scalar(value))


def implied_conditions(key: str) -> tuple[Condition, ...]:
    """Return the conditions that follow from what a key means."""
    return (WITH_DISCRIMINATOR,) if key.startswith(_OF_THE_DISCRIMINATOR) else ()


def written(value: Scalar) -> str:
    """Return a value as YAML has it; a text that reads as something else, in quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not (_PLAIN.fullmatch(value) and _scalar(value) == value):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def _scalar(text: str) -> Scalar:
    """Read a value as YAML would: true, false, an integer, a number, else a text."""
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None:
        single, double = quoted.groups()
        return double if single is None else single.replace("''", "'")
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
