"""The jobs behind `dexsearch promote` and `rollback`: the champion moves, or it stays."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dexsearch.errors import ConfigurationError, DexSearchError, NotPromoted
from dexsearch.jobs.compare import Progress
from dexsearch.jobs.models import find_dataset, means_folder
from dexsearch.registry.paired import WORSE
from dexsearch.registry.record import CHAMPION, Registration, Registry, read_registry
from dexsearch.wording import printable, workspace_flag

if TYPE_CHECKING:
    from dexsearch.registry.looks import LookResult
    from dexsearch.registry.promotion import Moved, Why

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Promotion:
    """What became of the wish to promote a version, or to go back to one."""

    name: str
    version: int
    """That was to become champion."""
    champion: int
    """The champion now."""
    moved: "Moved | None"
    """None: it stays where it was."""
    evidence: "LookResult | None"
    """None where no look was needed."""

    def as_json(self) -> dict[str, Any]:
        """Return what happened and what it rests on."""
        why = None if self.moved is None else self.moved.why
        return {
            "name": self.name,
            "version": self.version,
            "promoted": self.moved is not None,
            "champion": self.champion,
            "previous_champion": None if self.moved is None else self.moved.previous,
            "forced": why is not None and why.forced,
            "reason": None if why is None else why.reason,
            "evidence": None if self.evidence is None else self.evidence.as_json(),
        }

    def __str__(self) -> str:
        """Return the evidence and what was moved."""
        told = [] if self.evidence is None else [f"{self.evidence}\n"]
        if self.moved is None:
            told.append(f"{self.name}@{CHAMPION} stays version {self.champion}")
        else:
            before = self.moved.previous
            told.append(
                f"{self.name}@{CHAMPION} is version {self.champion} now"
                f"{'' if before is None else f', was {before}'}: "
                f"{printable(self.moved.why.reason)}"
            )
        return "\n".join(told)

    def refuse_unless_moved(self) -> None:
        """Make a command that was asked to promote end with an exit code that says it did not.

        Raises:
            NotPromoted: if the evidence did not suffice.
        """
        if self.moved is None and self.evidence is not None:
            verdict, high = self.evidence.comparison.verdict, self.evidence.comparison.result.high
            loses = verdict == WORSE or (high is not None and high < 0)
            raise NotPromoted(
                f"{self.name}/{self.version} is not promoted: {verdict}; "
                f"{CHAMPION} moves on 'better' alone",
                hint="the champion predicts better; asking again only wears out the hold-out"
                if loses
                else "more hold-out subjects make smaller differences visible; "
                "--force --reason TEXT moves it all the same, and is recorded as such",
            )


def promote_model(
    workspace: Path,
    model: str,
    *,
    forced: bool,
    reason: str | None,
    margin: float,
    data: Path | None,
    progress: Progress,
) -> Promotion:
    """Make a registered version the champion of its name if the hold-out shows that it is better.

    Args:
        workspace: where the registry is.
        model: `name/version` or `name@alias`.
        forced: move it without looking at the hold-out; needs a reason.
        reason: of a person; is recorded.
        margin: loss of SSIM that still counts as not worse; does not decide here.
        data: folder of the dataset; None: where the studies had it.
        progress: is told (images done, images in all).

    Raises:
        NotRegistered: if there is no such version.
        ConfigurationError: if it is the champion already, forced without a reason, or cannot be
            compared with the champion.
        DataError: if a package is damaged, or the hold-out is missing or was changed.
        StudyBusy: if somebody moved the champion meanwhile.
    """
    from dexsearch.registry.promotion import Why, move_champion
    from dexsearch.registry.store import open_registered

    if forced and not (reason or "").strip():
        raise ConfigurationError(
            "--force moves the champion without evidence, so it needs a reason",
            hint="--force --reason 'why' records it",
        )
    registry = read_registry(workspace)
    version = _contender(registry, model)
    champion = registry.aliases.get((version.name, CHAMPION))
    open_registered(workspace, _label(version))  # a damaged one never becomes champion
    evidence = None
    if forced:
        why = Why(str(reason).strip(), forced=True)
    elif champion is None:
        why = Why("the name had no champion")
    else:
        evidence = _look(workspace, version, champion, margin=margin, data=data, progress=progress)
        if evidence.comparison.verdict != "better":
            return Promotion(version.name, version.version, champion, None, evidence)
        why = _evident(evidence, champion, reason)
    moved = move_champion(workspace, version.name, version.version, expected=champion, why=why)
    return Promotion(version.name, version.version, version.version, moved, evidence)


def roll_back(workspace: Path, name: str, *, reason: str | None) -> Promotion:
    """Swap the champion of a name with the one before it.

    Raises:
        NotRegistered: if the name is not known.
        ConfigurationError: if there is nothing to go back to.
        DataError: if the package of the former champion is damaged.
        StudyBusy: if somebody moved the champion meanwhile.
    """
    from dexsearch.registry.promotion import Why, move_champion, previous_champion
    from dexsearch.registry.store import open_registered

    champion, previous = previous_champion(read_registry(workspace), name)
    open_registered(workspace, f"{name}/{previous}")
    why = Why("; ".join(filter(None, ("rolled back", (reason or "").strip()))), forced=True)
    moved = move_champion(workspace, name, previous, expected=champion, why=why)
    return Promotion(name, previous, previous, moved, None)


def show_in_mlflow(workspace: Path, uri: str | None, tell: Tell) -> None:
    """Bring MLflow up to a move; one that fails is told of, because the log holds everything.

    Args:
        workspace: where the log is.
        uri: address of another store than the workspace's own.
        tell: is given lines for people.
    """
    from dexsearch.registry.mirror import sync_workspace

    try:
        sync_workspace(workspace, tell, uri)
    except DexSearchError as error:
        tell(f"MLflow does not show the move yet: {error}")
        tell(f"nothing is lost; dexsearch sync{workspace_flag(workspace)} brings it up to date")


def _contender(registry: Registry, model: str) -> Registration:
    """Return the version that is to become champion; not the champion itself."""
    if means_folder(model, registry.names):
        raise ConfigurationError(
            f"{model!r} is a folder; {CHAMPION} points to a registered version",
            hint="name it as dexsearch best lists it: NAME/VERSION",
        )
    version = registry.find(model)
    if registry.aliases.get((version.name, CHAMPION)) == version.version:
        raise ConfigurationError(
            f"{_label(version)} is {version.name}@{CHAMPION} already",
            hint=f"name another version, such as {version.name}/N; dexsearch best lists them",
        )
    return version


def _look(
    workspace: Path,
    version: Registration,
    champion: int,
    *,
    margin: float,
    data: Path | None,
    progress: Progress,
) -> "LookResult":
    """Compare a version with the champion, as a look of its own."""
    from dexsearch.registry.evidence import common_targets
    from dexsearch.registry.looks import Candidate, look_at_holdout
    from dexsearch.registry.store import open_registered

    labels = (_label(version), f"{version.name}/{champion}")
    a, b = (Candidate(label, open_registered(workspace, label)) for label in labels)
    try:
        common_targets(a.package, b.package, None)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{_label(version)} cannot be compared with the champion: {error}",
            hint="--force --reason TEXT moves the champion without a comparison",
        ) from None
    dataset = find_dataset(workspace, version.dataset, data)
    return look_at_holdout(
        workspace, a, b, dataset, target=None, margin=margin, purpose="promote", progress=progress
    )


def _evident(evidence: "LookResult", champion: int, reason: str | None) -> "Why":
    from dexsearch.registry.promotion import Why

    found = evidence.comparison.result
    told = (
        f"better than version {champion} on the hold-out: {found.difference:+.4f} SSIM "
        f"({found.low:.4f} .. {found.high:.4f}), {found.n_subjects} subjects"
    )
    return Why("; ".join(filter(None, (told, (reason or "").strip()))), look=evidence.look)


def _label(version: Registration) -> str:
    return f"{version.name}/{version.version}"
