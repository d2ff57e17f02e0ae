"""Bring MLflow up to the ledgers after an outage."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dexsearch.errors import ConfigurationError
from dexsearch.ledger.studies import list_studies, read_studies
from dexsearch.registry.address import check_uri, shown, tracking_uri
from dexsearch.registry.record import LOG_NAME
from dexsearch.wording import workspace_flag

LONGEST_S = 6 * 3600.0
"""A person who waits can press Ctrl-C, so only what hangs ends sooner."""


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What MLflow shows now."""

    tracking_uri: str
    """Where, without its password."""
    studies: int
    trials: int
    versions: int
    changed_by_hand: tuple[str, ...]
    """What somebody had changed in MLflow, and what became of it; also what could not be read."""

    def __str__(self) -> str:
        """Return the text for people."""
        return (
            f"MLflow at {self.tracking_uri} shows {self.studies} studies, {self.trials} trials "
            f"and {self.versions} registered generators, as the ledgers have them"
        )


def sync(
    workspace: Path,
    uri: str | None,
    *,
    tell: Callable[[str], None],
    beat: Callable[[int], None] = lambda _: None,
) -> SyncResult:
    """Bring every run, version and alias up to the ledgers; doing it again changes nothing.

    Args:
        workspace: whose ledgers are the truth.
        uri: address of another MLflow than the workspace's own.
        tell: is given one line for each thing that somebody changed in MLflow by hand.
        beat: is given how many runs have been brought up.

    Raises:
        ConfigurationError: if `uri` is no address, or the workspace has no ledger.
        EnvironmentFault: if MLflow cannot be written.
    """
    from dexsearch.registry.flushing import bring_up

    uri = check_uri(uri)
    if not (list_studies(workspace) or (workspace / LOG_NAME).exists()):
        raise ConfigurationError(
            f"workspace {str(workspace)!r} has neither a study nor {LOG_NAME}, so nothing to show",
            hint="name the folder that tune wrote: --workspace DIR",
        )
    told: list[str] = []

    def hear(line: str) -> None:
        told.append(line)
        tell(line)

    done = bring_up(workspace, uri, tell=hear, longest_s=LONGEST_S, beat=beat)
    place = shown(uri or tracking_uri(workspace))
    return SyncResult(place, done.studies, done.trials, done.versions, tuple(told))


def n_runs(workspace: Path) -> int:
    """Return how many runs MLflow is to show: one for each study and each trial."""
    studies = read_studies(workspace, lambda _: None)
    return sum(1 + len(study.trials) for study in studies)


def sync_command(workspace: Path, uri: str | None) -> str:
    """Return the command that brings MLflow up to the ledgers, without a password in it."""
    command = f"dexsearch sync{workspace_flag(workspace)}"
    if uri is None:
        return command
    if shown(uri) != uri:  # it holds a password
        return f"{command}  (with DEXSEARCH_TRACKING_URI set to {shown(uri)})"
    return f"{command} --tracking-uri {shlex.quote(uri)}"
