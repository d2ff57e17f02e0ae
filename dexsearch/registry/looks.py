"""Looks at the hold-out: counted before it is opened, their evidence kept afterwards.

Every look wears the hold-out out a little: whoever compares often enough finds something
"better" by chance. So the log says `look` first, and whatever happens then, also Ctrl-C, the look
stays counted. What it showed lies in

    WORKSPACE/evidence/<look>/result.json   what `compare --format json` prints
    WORKSPACE/evidence/<look>/scores.csv    one line per image
    WORKSPACE/evidence/<look>/gallery.png   where A loses most

whole or not at all, and as event `evidence` in the log.
"""

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexsearch.data.store import Dataset
from dexsearch.durable import flush_folder, partial_beside, write_durably
from dexsearch.errors import EnvironmentFault
from dexsearch.figures.regressions import write_regressions
from dexsearch.figures.theme import plain
from dexsearch.inference.package import Package
from dexsearch.registry.comparison import Comparison
from dexsearch.registry.evidence import (
    Progress,
    common_targets,
    compare_packages,
    refuse_absent_holdout,
    worst_regressions,
)
from dexsearch.registry.paired import FEWEST_SUBJECTS, false_alarm_chance
from dexsearch.registry.record import registry_from_events
from dexsearch.registry.store import open_log

EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One side of a comparison."""

    label: str
    """`name/version`, or the folder of a package."""
    package: Package


@dataclass(frozen=True, slots=True)
class LookResult:
    """What one look at the hold-out showed."""

    look: str
    purpose: str
    comparison: Comparison
    n_looks: int
    """Looks at this hold-out that the workspace has counted, this one included."""
    folder: Path

    def as_json(self) -> dict[str, Any]:
        """Return the comparison, and what the look is worth after so many."""
        return {
            "look": self.look,
            "purpose": self.purpose,
            **self.comparison.as_json(),
            "n_looks": self.n_looks,
            "false_alarm_chance": false_alarm_chance(self.n_looks),
            "files": f"{EVIDENCE}/{self.look}",
        }

    def __str__(self) -> str:
        """Return the comparison, and what the look is worth after so many."""
        chance = 100 * false_alarm_chance(self.n_looks)
        times = f"look {self.n_looks} at this hold-out"
        if self.comparison.result.n_subjects < FEWEST_SUBJECTS:
            return f"{self.comparison}\n{times}"
        return (
            f"{self.comparison}\n{times}: were all of them at equal generators, one would say "
            f"better with a chance of up to {chance:.2g} %"
        )


def look_at_holdout(
    workspace: Path,
    a: Candidate,
    b: Candidate,
    dataset: Dataset,
    *,
    target: str | None,
    margin: float,
    purpose: str,
    progress: Progress,
) -> LookResult:
    """Compare two generators on the hold-out, once, for the record.

    Args:
        workspace: whose log counts the look.
        a: the generator in question.
        b: what it is compared with.
        dataset: the one that both were trained on.
        target: bone or tissue; None for all that both predict.
        margin: loss of SSIM that still counts as not worse.
        purpose: `compare` or `promote`.
        progress: is told how far it is.

    Raises:
        ConfigurationError: if they cannot be compared; no look is counted then.
        DataError: if the hold-out is missing (no look is counted), or was changed.
        EnvironmentFault: if the evidence cannot be written.
        StudyBusy: if another process writes the registry for longer than half a minute.
    """
    common_targets(a.package, b.package, target)
    refuse_absent_holdout(dataset)
    digest, metric = dataset.manifest.digest, a.package.card.metric
    look = uuid.uuid4().hex[:12]
    event = {"look": look, "a": a.label, "b": b.label, "target": target, "purpose": purpose}
    with open_log(workspace) as log:
        registry = registry_from_events(log.events_at_opening, workspace)
        n_looks = 1 + sum(before.dataset == digest for before in registry.looks)
        log.append({"event": "look", **event, "dataset": digest, "metric": metric})
    comparison = compare_packages(
        a.package,
        b.package,
        dataset,
        target=target,
        margin=margin,
        progress=progress,
        labels=(a.label, b.label),
    )
    result = LookResult(look, purpose, comparison, n_looks, workspace / EVIDENCE / look)
    _write(result, a.package, b.package, dataset)
    keep_evidence(workspace, result)
    return result


def keep_evidence(workspace: Path, result: LookResult) -> None:
    """Write what a look showed into the log.

    Raises:
        EnvironmentFault: if the disk refuses.
        StudyBusy: if another process writes the registry for longer than half a minute.
    """
    verdict = result.comparison.verdict
    with open_log(workspace) as log:
        log.append(
            {
                "event": "evidence",
                "look": result.look,
                "verdict": verdict,
                "result": result.as_json(),
            }
        )


def _write(result: LookResult, a: Package, b: Package, dataset: Dataset) -> None:
    """Write the folder of the evidence, whole or not at all."""
    comparison = result.comparison
    rows = worst_regressions(comparison, a, b, dataset)
    partial = partial_beside(result.folder)
    try:
        partial.mkdir(parents=True)
        text = json.dumps(result.as_json(), indent=2, allow_nan=False) + "\n"
        write_durably(partial / "result.json", text.encode())
        write_durably(partial / "scores.csv", comparison.scores_csv().encode())
        write_regressions(partial / "gallery.png", rows, heading=_heading(comparison))
        partial.rename(result.folder)
        flush_folder(result.folder.parent)
    except OSError as error:
        raise EnvironmentFault(
            f"the evidence cannot be written to {str(result.folder)!r}: {error.strerror or error}",
            hint="free disk space or correct the permissions; the look is counted, the same "
            "command looks again",
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _heading(comparison: Comparison) -> str:
    n_worse = sum(image.difference < 0 for image in comparison.images)
    what = "where A loses most" if n_worse else "A loses nowhere; where it gains least"
    return plain(f"hold-out, {what}: A {comparison.a[-40:]}, B {comparison.b[-40:]}")
