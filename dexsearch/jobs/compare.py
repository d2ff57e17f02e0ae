"""The job behind `dexsearch compare`: two generators on the hold-out, once, for the record."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dexsearch.jobs.models import find_dataset, open_model
from dexsearch.registry.record import CHAMPION, read_registry
from dexsearch.wording import workspace_flag

if TYPE_CHECKING:
    from dexsearch.registry.looks import Candidate, LookResult

Progress = Callable[[int, int], None]


def compare_models(
    workspace: Path,
    model_a: str,
    model_b: str,
    *,
    target: str | None,
    margin: float,
    data: Path | None,
    progress: Progress,
) -> "LookResult":
    """Compare two generators on the hold-out of the dataset that both were trained on.

    Args:
        workspace: where the registry is, which counts the look.
        model_a: the generator in question: as `open_model` takes it, downloaded folders too.
        model_b: what it is compared with.
        target: bone or tissue; None for all that both predict.
        margin: loss of SSIM that still counts as not worse.
        data: folder of the dataset; None: where the studies had it.
        progress: is told (images done, images in all).

    Raises:
        NotRegistered: if the registry holds no such model.
        ConfigurationError: if the two cannot be compared; no look is counted then.
        DataError: if a package is damaged, or the hold-out is missing or was changed.
    """
    from dexsearch.registry.evidence import common_targets
    from dexsearch.registry.looks import look_at_holdout

    a, b = candidate(workspace, model_a), candidate(workspace, model_b)
    common_targets(a.package, b.package, target)
    return look_at_holdout(
        workspace,
        a,
        b,
        find_dataset(workspace, a.package.card.dataset, data),
        target=target,
        margin=margin,
        purpose="compare",
        progress=progress,
    )


def candidate(workspace: Path, model: str) -> "Candidate":
    """Open one side of a comparison, called `name/version` where the registry holds it."""
    from dexsearch.registry.looks import Candidate

    package = open_model(model, workspace)
    for version in read_registry(workspace).versions:
        if version.sha256 == package.sha256:
            return Candidate(f"{version.name}/{version.version}", package)
    return Candidate(str(package.path.absolute()), package)  # never reads as a version's name


def advice(workspace: Path, result: "LookResult") -> str:
    """Say where the pictures are, and what to do with a verdict."""
    found = result.comparison
    lines = [f"where A loses most: {result.folder / 'gallery.png'}"]
    registry = read_registry(workspace)
    name, _, number = found.a.partition("/")
    champion = registry.aliases.get((name, CHAMPION))
    if found.verdict == "better" and champion is not None and found.b == f"{name}/{champion}":
        lines.append(f"next: dexsearch promote {name}/{number}{workspace_flag(workspace)}")
    else:
        lines.append(f"next: dexsearch history{workspace_flag(workspace)}")
    return "\n".join(lines)
