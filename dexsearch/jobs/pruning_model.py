"""How many epochs will a search train? What its pruner is expected to leave of each trial.

An expectation before anything is known, with one assumption: curves do not cross, so that what is
stopped late would have been stopped early. `status` tells what pruning saves in truth.
"""

import itertools
import math
from dataclasses import dataclass

from dexsearch.config.space import PrunerConfig


@dataclass(frozen=True, slots=True)
class ExpectedLength:
    """Epochs that a trial is expected to train, on average, and why."""

    epochs: float
    model: str
    """The assumption in words."""


def expected_length(pruner: PrunerConfig, *, epochs: int) -> ExpectedLength:
    """Return the expected epochs of a trial under a pruner; immune trials train all of them."""
    match pruner.kind:
        case "none":
            return ExpectedLength(float(epochs), "nothing is pruned")
        case "successive_halving":
            mean = _halved(pruner, epochs, first=pruner.min_epochs)
            told = f"one trial in {pruner.reduction} survives each rung ({_rungs(pruner, epochs)})"
        case "hyperband":
            mean, told = _hyperband(pruner, epochs)
        case "median" | "percentile":
            share = 0.5 if pruner.kind == "median" else pruner.percentile / 100
            mean = share * pruner.min_epochs + (1 - share) * epochs
            told = (
                f"{share:.0%} of the trials stop at epoch {pruner.min_epochs}, the others train "
                "to the end"
            )
    immune = 1 / pruner.immune_every if pruner.immune_every else 0.0
    if immune:
        told += f"; one in {pruner.immune_every} is immune"
    return ExpectedLength(immune * epochs + (1 - immune) * mean, told)


def rungs(pruner: PrunerConfig, epochs: int, *, first: int) -> tuple[int, ...]:
    """Return the epochs before the last at which successive halving decides."""
    found = []
    rung = first
    while rung < epochs:
        found.append(rung)
        rung *= pruner.reduction
    return tuple(found)


def _rungs(pruner: PrunerConfig, epochs: int) -> str:
    found = rungs(pruner, epochs, first=pruner.min_epochs)
    return f"epoch{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"


def _halved(pruner: PrunerConfig, epochs: int, *, first: int) -> float:
    """Return the mean epochs if one trial in `reduction` survives each rung."""
    stops = (0, *rungs(pruner, epochs, first=first), epochs)
    return math.fsum(
        (later - earlier) / pruner.reduction**survived
        for survived, (earlier, later) in enumerate(itertools.pairwise(stops))
    )


def _hyperband(pruner: PrunerConfig, epochs: int) -> tuple[float, str]:
    """Average over the brackets as Optuna fills them; later ones begin to decide later."""
    eta = pruner.reduction
    n_brackets = 1
    while pruner.min_epochs * eta**n_brackets <= epochs:
        n_brackets += 1
    shares = [
        math.ceil(n_brackets * eta**left / (left + 1)) for left in reversed(range(n_brackets))
    ]
    lengths = [
        _halved(pruner, epochs, first=pruner.min_epochs * eta**bracket)
        for bracket in range(n_brackets)
    ]
    weighted = math.fsum(s * length for s, length in zip(shares, lengths, strict=True))
    mean = weighted / sum(shares)
    return mean, f"one trial in {eta} survives each rung of its bracket ({n_brackets} brackets)"
