"""Which version challenges a champion: the best newcomer that scores above it on validation.

A score on validation is a reason to look at the hold-out, never one to promote: among a hundred
generators that are worse than the champion, the luckiest scores above it nearly always.
"""

from collections.abc import Collection

from dexsearch.registry.record import CHALLENGER, CHAMPION, Registration, Registry


def find_champion(registry: Registry, name: str, alias: str = CHAMPION) -> Registration | None:
    """Return the version that an alias of a name points to; None if there is none."""
    number = registry.aliases.get((name, alias))
    return next((v for v in registry.versions if (v.name, v.version) == (name, number)), None)


def find_challenger(
    registry: Registry, name: str, newcomers: Collection[int]
) -> Registration | None:
    """Return the newcomer that is to become `challenger` of a name; None if nobody is.

    It scores above the champion of its group, above the challenger that there is, and was neither
    champion nor challenger before: what was promoted, refused or rolled back is no newcomer, also
    when its study is registered again.

    Args:
        registry: as it stands, the newcomers registered.
        name: registered name.
        newcomers: numbers of the versions that were registered just now.
    """
    champion = find_champion(registry, name)
    if champion is None:
        return None
    known = {
        move.version
        for move in registry.moves
        if move.name == name and move.alias in (CHAMPION, CHALLENGER)
    }
    rivals = [
        version
        for version in registry.versions
        if version.name == name
        and version.group == champion.group
        and version.version in set(newcomers) - known
    ]
    best = max(rivals, key=lambda version: (version.val_ssim, -version.version), default=None)
    bars = [champion, find_champion(registry, name, CHALLENGER)]
    comparable = [bar.val_ssim for bar in bars if bar is not None and bar.group == champion.group]
    return best if best is not None and best.val_ssim > max(comparable) else None
