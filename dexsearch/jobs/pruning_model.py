"""How many epochs will a search train? What its pruner is expected to leave of each trial.

An expectation before anything is known, with two assumptions: curves do not cross, so that what is
stopped late would have been stopped early, and no trial is better for coming later. `status` tells
what pruning saves in truth.

Rungs of successive halving let the same share pass however many trials there are. The percentile
and median rules do not: they compare with complete trials, which are those that they let pass, so
the threshold rises with every survivor. They are therefore played, on trials of random quality.
"""

import itertools
import math
import random
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from dexsearch.config.space import PrunerConfig

_N_STARTUP = 5
"""Complete trials that Optuna's percentile rule waits for."""

_N_PLAYED = 2000
"""Trials to play in all, in as many searches as that makes; some tens of milliseconds."""


@dataclass(frozen=True, slots=True)
class ExpectedLength:
    """Epochs that a trial is expected to train, on average, and why."""

    epochs: float
    model: str
    """The assumption in words."""


def expected_length(pruner: PrunerConfig, *, epochs: int, trials: int) -> ExpectedLength:
    """Return the expected epochs of a trial under a pruner; immune trials train all of them.

    Args:
        pruner: its kind and when it begins.
        epochs: of a trial that is not stopped.
        trials: of the whole search.
    """
    immune = 1 / pruner.immune_every if pruner.immune_every else 0.0
    also = f"; one in {pruner.immune_every} is immune" if immune else ""
    match pruner.kind:
        case "none":
            return ExpectedLength(float(epochs), "nothing is pruned")
        case "median" | "percentile":
            mean = _played(pruner, epochs, trials)
            rule = (
                "the median" if pruner.kind == "median" else f"percentile {_percentile(pruner):g}"
            )
            told = (
                f"a trial stops at epoch {pruner.min_epochs} where it is below {rule} of those "
                "that trained to the end, and later trials are no better than earlier ones"
            )
            return ExpectedLength(mean, told + also)
        case "successive_halving":
            mean = _halved(pruner, epochs, first=pruner.min_epochs)
            told = f"one trial in {pruner.reduction} survives each rung ({_rungs(pruner, epochs)})"
        case "hyperband":
            mean, told = _hyperband(pruner, epochs)
    return ExpectedLength(immune * epochs + (1 - immune) * mean, told + also)


def lengths(pruner: PrunerConfig, epochs: int, qualities: Sequence[float]) -> tuple[int, ...]:
    """Play the percentile rule, one trial after the other, on curves that do not cross.

    Args:
        pruner: of kind `median` or `percentile`; the last of every `immune_every` trials is
            immune.
        epochs: of a trial that is not stopped.
        qualities: of the trials in their order; larger is better.

    Returns:
        The epochs of every trial.
    """
    complete: list[float] = []
    found = []
    for number, quality in enumerate(qualities):
        immune = pruner.immune_every > 0 and (number + 1) % pruner.immune_every == 0
        judged = len(complete) >= _N_STARTUP and not immune
        if judged and quality < _at_percentile(complete, _percentile(pruner)):
            found.append(pruner.min_epochs)
        else:
            found.append(epochs)
            insort(complete, quality)
    return tuple(found)


def _played(pruner: PrunerConfig, epochs: int, trials: int) -> float:
    """Return the mean length over some searches of trials of random quality."""
    rng = random.Random(0)
    searches = (
        lengths(pruner, epochs, [rng.random() for _ in range(trials)])
        for _ in range(max(1, _N_PLAYED // trials))
    )
    return fmean(fmean(search) for search in searches)


def _percentile(pruner: PrunerConfig) -> float:
    return 50.0 if pruner.kind == "median" else pruner.percentile


def _at_percentile(ordered: Sequence[float], percentile: float) -> float:
    """Return a percentile of rising values, between two of them by straight line."""
    place = (len(ordered) - 1) * percentile / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


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
