"""Which of two scores is better, by the kind of score.

Names are those of an epoch record; scores of image quality begin with `quality_`. What they mean
is in `training.quality`.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping

from dexsearch.errors import ConfigurationError
from dexsearch.registry.entries import Registration

OBJECTIVE = "val_ssim"
TARGETS = ("bone", "tissue")
_LOWER = re.compile(r"mae|tumour_error|loss")
_NEAREST_ZERO = re.compile(r"leakage")
_LIKE_THE_TRUTH = re.compile(r"(sdnr_rib_tissue)_prediction")
_OF_THE_IMAGES = re.compile(r"_(input|truth)(_mm)?$|tumour_views$")
"""Scores that say something of the images: they are the same for every generator."""


def scores_of(version: Registration) -> dict[str, float | None]:
    """Return every recorded score that is a number; old registrations hold the SSIM alone."""
    ssim = {OBJECTIVE: version.val_ssim} | {
        f"{OBJECTIVE}_{target}": getattr(version, f"{OBJECTIVE}_{target}") for target in TARGETS
    }
    scores = {**ssim, **version.scores}
    return {
        name: value if value is not None and math.isfinite(value) else None
        for name, value in scores.items()
    }


def rule(metric: str) -> str:
    """Return in words which value of a score is the best."""
    if _NEAREST_ZERO.search(metric):
        return "nearest to 0 is better"
    if _LIKE_THE_TRUTH.search(metric):
        return "nearest to the truth's is better"
    return "lower is better" if _LOWER.search(metric) else "higher is better"


def merit(metric: str, scores: Mapping[str, float | None]) -> float:
    """Return a number that is the higher, the better a score is; -inf where there is none."""
    value = scores.get(metric)
    if value is None:
        return -math.inf
    if _NEAREST_ZERO.search(metric):
        return -abs(value)
    if _LIKE_THE_TRUTH.search(metric):
        truth = scores.get(metric.replace("_prediction", "_truth"))
        return -math.inf if truth is None else -abs(value - truth)
    return -value if _LOWER.search(metric) else value


def check_metric(metric: str, versions: Iterable[Registration]) -> None:
    """Refuse to rank by what no generator has.

    Raises:
        ConfigurationError: naming the scores that there are.
    """
    if metric == OBJECTIVE:
        return
    known = sorted(
        {
            name
            for version in versions
            for name, value in scores_of(version).items()
            if value is not None and not _OF_THE_IMAGES.search(name)
        }
    )
    if metric in known or not known:
        return
    close = difflib.get_close_matches(metric, [*known, f"quality_{metric}"], n=1, cutoff=0.5)
    similar = [f"quality_{metric}"] if f"quality_{metric}" in known else close
    raise ConfigurationError(
        f"cannot rank by {metric!r}; recorded scores: {', '.join(known)}",
        hint=f"did you mean --metric {similar[0]}?" if similar else "--metric takes one of them",
    )
