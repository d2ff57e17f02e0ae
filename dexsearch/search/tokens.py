"""The token that a Ray cluster asks for: where this process would take it from, and who reads it.

Ray looks in RAY_AUTH_TOKEN, then in the file that RAY_AUTH_TOKEN_PATH names, then in
`~/.ray/auth_token`, and sends what it finds only under RAY_AUTH_MODE=token. The token itself
is never kept here, so it cannot get into a message.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
    """Who else can read the file of the token; None where nobody else, or there is no file."""

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
    mode = environment.get(MODE, "").strip().lower()
    if environment.get(TOKEN, "").strip():
        return TokenSource(mode, TOKEN)
    named = environment.get(TOKEN_PATH, "").strip()
    path = Path(named).expanduser() if named else home / ".ray" / "auth_token"
    place = f"{TOKEN_PATH}={named}" if named else str(path)
    try:
        is_empty = not path.read_text().strip()
        permissions = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return TokenSource(mode, None, f"{place} is not there" if named else None)
    except (OSError, UnicodeDecodeError) as error:
        return TokenSource(mode, None, f"{place} cannot be read: {error}")
    if is_empty:
        return TokenSource(mode, None, f"{place} is empty")
    return TokenSource(mode, place, exposed=_exposure(path, permissions))


def _exposure(path: Path, permissions: int) -> str | None:
    """Say who beside the owner reads a token's file."""
    if not permissions & (stat.S_IRGRP | stat.S_IROTH):
        return None
    whom = "everybody" if permissions & stat.S_IROTH else "its group"
    return (
        f"the token file {path} can be read by {whom} on this machine (mode {permissions:04o}): "
        f"chmod 600 {path}"
    )
