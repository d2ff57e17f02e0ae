"""What every message to a person has in common; standard library only."""

import shlex
from pathlib import Path

DEFAULT_WORKSPACE = Path("workspace")


def printable(text: str) -> str:
    """Return `text` with control characters escaped, so that a name cannot drive the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def workspace_flag(workspace: Path) -> str:
    """Return what a suggested command needs to find `workspace`, with a space before it.

    Empty for the default workspace.
    """
    if workspace == DEFAULT_WORKSPACE:
        return ""
    return f" --workspace {shlex.quote(str(workspace))}"
