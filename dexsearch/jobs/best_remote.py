"""What `dexsearch best` tells from an MLflow server, on a machine that never saw the workspace."""

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from dexsearch.errors import NotRegistered
from dexsearch.jobs.best import Answer, Choice, Leaderboard, check_study, rank
from dexsearch.registry.address import shown
from dexsearch.registry.remote import read_remote
from dexsearch.registry.remote_files import download_remote

Tell = Callable[[str], None]
ProgressBar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


def best_there(
    uri: str, choice: Choice, download_to: Path | None, *, tell: Tell, progress: ProgressBar
) -> Answer:
    """Answer from a store as `best_here` does from a workspace; only the URIs differ.

    Args:
        uri: address of the MLflow server or database.
        choice: which generators, by what.
        download_to: a new folder for the files of the first one, every hash checked.
        tell: is given one line for each version that is passed over.
        progress: makes a progress bar of the unit that it is given.

    Raises:
        ConfigurationError: if the address is none, or the study or the metric not known.
        EnvironmentFault: if nothing answers there, or not as MLflow does.
        NotRegistered: if there is nothing to download.
        DataError: if the files are not those that were registered; nothing is left in the folder.
    """
    remote = read_remote(uri, tell)
    check_study(remote.registry, choice.study)
    board = rank(remote.registry, choice, uri_of=remote.uri_of)
    if download_to is None:
        return Answer(board, _advice(uri, board, choice))
    if not board.groups:
        raise NotRegistered(_nothing(uri, choice), hint=_SYNC)
    with progress("files") as bar:
        download_remote(remote, board.first.generator, download_to, bar)
    return Answer(board, f"next: dexsearch predict {shlex.quote(str(download_to))} IN.npy OUT")


_SYNC = "dexsearch sync --tracking-uri URI, where the workspace is, brings them there"


def _advice(uri: str, board: Leaderboard, choice: Choice) -> str:
    if not board.groups:
        return f"{_nothing(uri, choice)}\nnext: {_SYNC}"
    at = f"--tracking-uri {shlex.quote(shown(uri))}"
    lines = [f"next: dexsearch best {at} --download DIR"]
    lines += [f"next, where the workspace is: {command}" for command in board.promotions]
    return "\n".join(lines)


def _nothing(uri: str, choice: Choice) -> str:
    kind = f"no {choice.task} generator" if choice.task else "no generator"
    return f"{kind} of dexsearch is registered at {shown(uri)}"
