"""One row of `dexsearch best`: a registered generator among those it may be compared with."""

import math
from dataclasses import dataclass
from typing import Any

from dexsearch.jobs.merit import scores_of
from dexsearch.registry.entries import Registration, ReplicatedTrial, StudyAudit
from dexsearch.registry.record import CHAMPION
from dexsearch.registry.standing import Holdout, version_label

BASELINES = ("identity_affine", "nearest_pose", "constant")


@dataclass(frozen=True, slots=True)
class Ranked:
    """One registered generator, its place, and what is known of it."""

    rank: int
    generator: Registration
    aliases: tuple[str, ...]
    uri: str
    audit: StudyAudit | None = None
    """What the study that it comes from had learned about its pruning."""
    holdout: Holdout | None = None
    """The newest comparison on hold-out subjects that it took part in."""
    replicated: ReplicatedTrial | None = None
    """Its configuration, trained again with other seeds."""
    above_champion: float | None = None
    """Its validation score minus the champion's; None where those cannot be compared."""

    @property
    def label(self) -> str:
        """How to call it: `name@alias`, or `name/version` where it has no alias."""
        if not self.aliases:
            return version_label(self.generator)
        alias = CHAMPION if CHAMPION in self.aliases else self.aliases[0]
        return f"{self.generator.name}@{alias}"

    @property
    def scores(self) -> dict[str, float | None]:
        """Every recorded score on validation subjects."""
        return scores_of(self.generator)

    def interval(self, score: str) -> tuple[float, float] | None:
        """Return the 95 % interval of a score over validation subjects, where it is known."""
        ends = self.generator.intervals.get(score, [])
        return (ends[0], ends[1]) if len(ends) == 2 and all(map(math.isfinite, ends)) else None

    def as_json(self) -> dict[str, Any]:
        """Return the released keys of `best --format json`."""
        found = self.generator
        row = {
            "rank": self.rank,
            "name": found.name,
            "version": found.version,
            "aliases": list(self.aliases),
            "task": found.task,
            "study": found.study,
            "trial": found.trial,
            "dataset": found.dataset,
            "metric": found.metric,
            "val_ssim": found.val_ssim,
            "val_ssim_bone": found.val_ssim_bone,
            "val_ssim_tissue": found.val_ssim_tissue,
            "baselines": found.baselines,
            "params": found.params,
            "epochs": found.epochs,
            "uri": self.uri,
            "sha256": found.sha256,
            "audit": None if self.audit is None else self.audit.audit,
            "head": found.head or found.task,
            "scores": self.scores,
            "intervals": {name: self.interval(name) for name in found.intervals},
            "n_subjects": found.n_subjects,
            "n_parameters": found.n_parameters,
            "size_bytes": found.size_bytes,
            "latency": found.latency,
            "seed": found.seed,
            "git_commit": found.git_commit,
            "replicates": None if self.replicated is None else _replicates(self.replicated),
            "evidence": None if self.holdout is None else self.holdout.as_json(),
            "above_champion": self.above_champion,
            "weights_sha256": found.weights_sha256,
        }
        return {key: _known_to_json(value) for key, value in row.items()}


def _replicates(entry: ReplicatedTrial) -> dict[str, Any]:
    return {
        "objective": entry.objective,
        "seeds": entry.seeds,
        "values": entry.values,
        "mean": entry.mean,
        "low": entry.low,
        "high": entry.high,
    }


def _known_to_json(value: Any) -> Any:  # noqa: ANN401
    """Return a value with null for the numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: _known_to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_known_to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
