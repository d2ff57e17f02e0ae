"""Which searched keys depend on which: their order of drawing, and what is refused."""

from collections.abc import Callable, Iterator, Mapping

from dexsearch.config.base import did_you_mean
from dexsearch.config.conditions import Condition, Scalar, implied_conditions, written
from dexsearch.config.distributions import Choice, Distribution, FloatRange, can_draw
from dexsearch.config.trial import known_trial_keys

Search = Mapping[str, Distribution]


def known_trial_key(key: str) -> str:
    """Return a dotted key of `TrialConfig` as it is.

    Raises:
        ValueError: if there is no such key; the message lists those that there are.
    """
    known = known_trial_keys()
    if key not in known:
        guess = did_you_mean(key, known)
        message = f"unknown key {key!r}; known keys: {', '.join(known)}"
        raise ValueError(f"{message}; {guess}" if guess else message)
    return key


def conditions_of(search: Search, key: str) -> tuple[Condition, ...]:
    """Return every condition that must hold for a searched key to be drawn."""
    own = search[key].condition
    implied = implied_conditions(key)
    return implied if own is None or own in implied else (*implied, own)


def drawing_order(search: Search) -> list[str]:
    """Return the searched keys in the file's order, but each after those that decide on it.

    Raises:
        ValueError: if keys decide on each other in a circle.
    """
    order: dict[str, None] = {}
    for key in search:
        _visit(search, key, order, above=())
    return list(order)


def refuse_bad_conditions(search: Search, constant: Callable[[str], Scalar]) -> None:
    """Check that every written condition can hold, and can fail to hold.

    Args:
        search: the searched keys.
        constant: returns the value of a key that is not searched: fixed, or the default.

    Raises:
        ValueError: on an unknown key, a value that it never takes, a circle, or a condition that
            always or never holds; the message quotes the condition.
    """
    for key, distribution in search.items():
        condition = distribution.condition
        if condition is not None:
            _refuse_constant(search, key, condition, constant)
    drawing_order(search)
    for key, distribution in search.items():
        if distribution.condition is not None and _contradicts(search, key, constant):
            together = ", ".join(sorted({str(condition) for condition in _all(search, key)}))
            raise ValueError(
                f"{key}: when {distribution.when!r} can never hold together with the conditions "
                f"that come with it: {together}; change one of them"
            )


def _refuse_constant(
    search: Search, key: str, condition: Condition, constant: Callable[[str], Scalar]
) -> None:
    """Check one condition by itself against the values of the key that it asks about."""
    parent, told = condition.key, f"{key}: when {str(condition)!r}"
    try:
        known_trial_key(parent)
    except ValueError as error:
        raise ValueError(f"{told} asks about an {error}") from None
    values = search.get(parent)
    if values is None:
        value = constant(parent)
        always = "always" if condition.holds_for(value) else "never"
        raise ValueError(
            f"{told} {always} holds, because {parent} is not searched and always "
            f"{written(value)}; remove {'the condition' if always == 'always' else key}, or add "
            f"{parent} to 'search'"
        )
    if isinstance(values, FloatRange):
        raise ValueError(
            f"{told} compares a number from a continuous range, which hardly ever takes one "
            f"value exactly; make {parent} a choice"
        )
    if not can_draw(values, condition.value):
        raise ValueError(
            f"{told} names a value that {parent} never takes; allowed are "
            f"{', '.join(map(written, possible_values(values)))}"
        )
    if len(possible_values(values)) == 1:
        always = "always" if condition.equal else "never"
        raise ValueError(
            f"{told} {always} holds, because {parent} has one value; "
            f"remove {'the condition' if always == 'always' else key}"
        )


def possible_values(distribution: Distribution) -> tuple[Scalar, ...]:
    """Return every value of a choice or of a range of integers; TypeError for floats."""
    if isinstance(distribution, FloatRange):
        raise TypeError("a range of floats cannot be listed")
    if isinstance(distribution, Choice):
        return distribution.choice
    low, high = distribution.int
    return tuple(range(low, high + 1))


def _visit(search: Search, key: str, order: dict[str, None], above: tuple[str, ...]) -> None:
    if key in above:
        circle = above[above.index(key) :]
        written_in_it = next((k for k in reversed(circle) if search[k].when), key)
        raise ValueError(
            f"{written_in_it}: when {search[written_in_it].when!r} goes round in a circle: "
            f"{' needs '.join((*circle, key))}; remove one of these conditions"
        )
    if key in order:
        return
    for condition in conditions_of(search, key):
        if condition.key in search:
            _visit(search, condition.key, order, (*above, key))
    order[key] = None


def _all(search: Search, key: str) -> Iterator[Condition]:
    """Yield the conditions of a key and of all that it depends on."""
    for condition in conditions_of(search, key):
        yield condition
        if condition.key in search:
            yield from _all(search, condition.key)


def _contradicts(search: Search, key: str, constant: Callable[[str], Scalar]) -> bool:
    """Tell whether no values of the keys above let a key be drawn."""
    conditions = tuple(_all(search, key))
    for parent in {condition.key for condition in conditions}:
        about = [condition for condition in conditions if condition.key == parent]
        values = possible_values(search[parent]) if parent in search else (constant(parent),)
        if not any(all(condition.holds_for(value) for condition in about) for value in values):
            return True
    return False
