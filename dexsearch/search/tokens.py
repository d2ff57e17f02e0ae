"""The token that a Ray cluster asks for: where this process would take it from, and who reads it.

Ray looks in RAY_AUTH_TOKEN, then in the file that RAY_AUTH_TOKEN_PATH names, then in
`~/.ray/auth_token`, and sends what it finds only under RAY_AUTH_MODE=token. The token itself
is never kept here, so it cannot get into a message.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CREDENTIALS = "CREDENTIALS_DIRECTORY"
_SECRETS = Path("/run/secrets")
MODE = "RAY_AUTH_MODE"
TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
GIVE_A_TOKEN = (
    "export RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH=FILE with the token of the cluster "
    "(on its head: `ray get-auth-token`)"
)


@dataclass(frozen=True, slots=True)
class TokenSource:
    """What the environment says about tokens."""

    mode: str
    """RAY_AUTH_MODE in lower case; empty where it is not set."""
    place: str | None
    """Where the token is, for a person; None where there is none."""
    fault: str | None = None
    """Why the place that was named yields no token."""
    exposed: str | None = None
    """Who else can read the file of the token; None where nobody else, there is no file, or
    Docker, Kubernetes or systemd has put it there, who set its mode themselves."""

    @property
    def is_on(self) -> bool:
        """Whether Ray sends the token."""
        return self.mode == "token"

    @property
    def told_mode(self) -> str:
        """The mode for a person."""
        return f"RAY_AUTH_MODE is {self.mode!r}" if self.mode else "RAY_AUTH_MODE is not set"


def token_source(environment: Mapping[str, str], home: Path) -> TokenSource:
    """Return where Ray takes its token from.

    Args:
        environment: of the process that will import Ray.
        home: the home directory of its user.
    """
    mode = environment.get(MODE, "").lower()  # Ray knows " token" as little as "tokn"
    if environment.get(TOKEN, "").strip():
        return TokenSource(mode, TOKEN)
    named = environment.get(TOKEN_PATH, "").strip()
    path = Path(named).expanduser() if named else home / ".ray" / "auth_token"
    place = f"{TOKEN_PATH}={named}" if named else str(path)
    try:
        is_empty = not path.read_text().strip()
        is_ours = not _is_put_there(path, environment)
        exposed = _exposure(path) if is_ours else None
    except FileNotFoundError:
        return TokenSource(mode, None, f"{place} is not there" if named else None)
    except (OSError, UnicodeDecodeError) as error:
        return TokenSource(mode, None, f"{place} cannot be read: {error}")
    if is_empty:
        return TokenSource(mode, None, f"{place} is empty")
    return TokenSource(mode, place, exposed=exposed)


def _is_put_there(path: Path, environment: Mapping[str, str]) -> bool:
    """Tell whether an orchestrator has put a file there."""
    folders = [_SECRETS.resolve()]
    if named := environment.get(CREDENTIALS, ""):
        folders.append(Path(named).resolve())
    return any(
        folder in path.absolute().parents or folder in path.resolve().parents for folder in folders
    )


def _exposure(path: Path) -> str | None:
    """Say who beside the owner reads a token's file; nobody who may not enter its folders."""
    status = path.stat()
    folders = [folder.stat() for folder in path.resolve().parents]
    others_enter = all(folder.st_mode & stat.S_IXOTH for folder in folders)
    group_enters = all(
        folder.st_mode & stat.S_IXOTH
        or (folder.st_mode & stat.S_IXGRP and folder.st_gid == status.st_gid)
        for folder in folders
    )
    if status.st_mode & stat.S_IROTH and others_enter:
        whom = "everybody"
    elif status.st_mode & stat.S_IRGRP and group_enters:
        whom = "its group"
    else:
        return None
    return (
        f"the token file {path} can be read by {whom} on this machine "
        f"(mode {stat.S_IMODE(status.st_mode):04o}): chmod 600 {path}"
    )
