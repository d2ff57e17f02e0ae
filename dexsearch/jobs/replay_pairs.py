"""Which pairs of sampler and pruner a simulation replays: those asked for, or the usual ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dexsearch.config.base import did_you_mean, first_problem
from dexsearch.config.space import PrunerConfig, SamplerConfig, SearchSpace
from dexsearch.errors import ConfigurationError

if TYPE_CHECKING:
    from dexsearch.search.curves import CurveTable
    from dexsearch.search.replays import Pair

_USUAL = ("none", "successive_halving", "hyperband", "median")


def chosen_pairs(
    table: "CurveTable", samplers: Sequence[str], pruners: Sequence[str]
) -> "tuple[Pair, ...]":
    """Return the pairs to replay: random search without pruning first, each pair once.

    Args:
        table: its space says what the study had.
        samplers: kinds; none: the study's own.
        pruners: `NAME` or `NAME:min_epochs=3,reduction=3`; none: the study's own. Where neither is
            given, the usual pruners with TPE are added, as far as the curves are long enough.

    Raises:
        ConfigurationError: naming the option that is wrong or does not suit the space.
    """
    from dexsearch.search.replays import Pair, only_looked_at

    own = PrunerConfig.model_validate(table.space.get("pruner", {}))
    own_sampler = SamplerConfig.model_validate(table.space.get("sampler", {})).kind
    asked = [(_sampler("random"), PrunerConfig(kind="none"))]
    if samplers or pruners:
        kinds = [_sampler(name) for name in samplers] or [_sampler(own_sampler)]
        wanted = [_pruner(text, own, table.epochs) for text in pruners] or [own]
        asked += [(sampler, pruner) for sampler in kinds for pruner in wanted]
    else:
        asked.append((_sampler(own_sampler), own))
        usual = _USUAL if table.epochs > 1 else ("none",)  # one epoch leaves nothing to prune
        asked += [(_sampler("tpe"), _pruner(name, own, table.epochs)) for name in usual]
    pairs = dict.fromkeys(Pair(sampler, only_looked_at(pruner)) for sampler, pruner in asked)
    for pair in pairs:
        _refuse_unsuited(pair, table)
    return tuple(pairs)


def _refuse_unsuited(pair: "Pair", table: "CurveTable") -> None:
    """Refuse a sampler that cannot search the table's space, which is valid by itself."""
    try:
        pair.space_of(table, str(table.space.get("objective", table.objectives[0])), seed=0)
    except ValidationError as error:
        raise ConfigurationError(
            f"--sampler {pair.sampler.kind!r}: {first_problem(error, SearchSpace)}"
        ) from None


def _sampler(name: str) -> SamplerConfig:
    try:
        return SamplerConfig.model_validate({"kind": name})
    except ValidationError as error:
        problem = first_problem(error, SamplerConfig).removeprefix("kind: ")
        raise ConfigurationError(f"--sampler {name!r}: {problem}") from None


def _pruner(text: str, own: PrunerConfig, epochs: int) -> PrunerConfig:
    """Read `NAME:key=value,...`; what is not given is as in the study, if that pruned.

    Without a pruner of its own to go by, the first decision is at a ninth of the epochs.
    """
    name, _, settings = text.partition(":")
    values: dict[str, Any] = own.model_dump()
    if own.kind == "none":
        values["min_epochs"] = max(1, round(epochs / 9))
    try:
        kind = PrunerConfig.model_validate({"kind": name}).kind
        values.update(_settings(text, kind, settings), kind=kind)
        pruner = PrunerConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(
            f"--pruner {text!r}: {first_problem(error, PrunerConfig)}"
        ) from None
    if pruner.kind != "none" and pruner.min_epochs >= epochs:
        raise ConfigurationError(
            f"--pruner {text!r}: min_epochs={pruner.min_epochs} never lets a trial be pruned; "
            f"the curves have {epochs} epochs"
        )
    return pruner


def _settings(text: str, kind: str, settings: str) -> dict[str, str]:
    """Split `key=value,...`; a key that the pruner does not look at is refused."""
    from dexsearch.search.replays import LOOKED_AT

    known, found = LOOKED_AT[kind], dict[str, str]()
    for setting in filter(None, settings.split(",")):
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise ConfigurationError(
                f"--pruner {text!r}: {setting!r} is not KEY=VALUE, "
                "as in successive_halving:min_epochs=3,reduction=3"
            )
        if key not in known:
            guess = did_you_mean(key, known)
            raise ConfigurationError(
                f"--pruner {text!r}: {kind} has no setting {key!r}; "
                f"it has {', '.join(known) or 'none'}" + (f"; {guess}" if guess else "")
            )
        found[key] = value
    return found
