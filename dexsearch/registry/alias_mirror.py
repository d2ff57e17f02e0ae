"""Point MLflow's aliases where the registry has them, and tell which ones somebody moved there.

What we set last is kept in the tag `dexsearch.aliases` of the registered model. An alias that is
elsewhere was moved by hand; one that is where we left it only waits to follow the registry.
Aliases of other names, which people made for themselves, stay as they are.
"""

import json
from collections.abc import Mapping
from typing import Any

from dexsearch.registry.record import Registry
from dexsearch.registry.tracking import TrackingStore

SET_LAST = "dexsearch.aliases"


def sync_aliases(
    store: TrackingStore,
    registry: Registry,
    model: Any,  # noqa: ANN401
    numbers: Mapping[int, int],
) -> None:
    """Bring the aliases of a registered model up to the registry.

    Args:
        store: MLflow; it is told what was moved by hand before that is put right.
        registry: the truth.
        model: the registered model, with its aliases.
        numbers: our version -> the number that MLflow gave it.
    """
    wanted = {
        alias: numbers[version]
        for (name, alias), version in registry.aliases.items()
        if name == model.name
    }
    there, before = _there(model), set_last(model.tags.get(SET_LAST))
    for line in moved_by_hand(model.name, there, before, wanted):
        store.tell(f"{line}; it is put right")
    for alias, number in wanted.items():
        if there.get(alias) != number:
            store.client.set_registered_model_alias(model.name, alias, str(number))
    for alias in before.keys() - wanted.keys():
        if there.get(alias) is not None:
            store.client.delete_registered_model_alias(model.name, alias)
    if before != wanted:  # last, so that a crash here tells of nobody's hand
        told = json.dumps(wanted, sort_keys=True)
        store.client.set_registered_model_tag(model.name, SET_LAST, told)


def moved_by_hand(
    name: str, there: Mapping[str, int], before: Mapping[str, int], wanted: Mapping[str, int]
) -> list[str]:
    """Return a line for each alias that is neither where we set it last nor where it belongs."""
    lines = []
    for alias, number in sorted(before.items()):
        now = there.get(alias)
        if now not in (number, wanted.get(alias)):
            done = "removed" if now is None else f"moved to version {now}"
            lines.append(f"{name}@{alias} was {done} in MLflow by hand, from version {number}")
    return lines


def _there(model: Any) -> dict[str, int]:  # noqa: ANN401
    return {alias: int(number) for alias, number in model.aliases.items()}


def set_last(told: str | None) -> dict[str, int]:
    """Return where we set each alias, from the tag; nothing for what earlier versions wrote."""
    try:
        aliases = json.loads(told or "{}")
        return {str(alias): int(number) for alias, number in aliases.items()}
    except (ValueError, TypeError, AttributeError):  # somebody wrote into the tag
        return {}
