"""What every message to a person has in common; standard library only."""

import shlex
from pathlib import Path

DEFAULT_WORKSPACE = Path("workspace")
_UNITS = (("days", 86400, 3 * 86400), ("h", 3600, 6000), ("min", 60, 120))


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


def duration(seconds: float) -> str:
    """Return a time with up to three digits: `45 s`, `90 min`, `2 h`, `3.5 days`."""
    for unit, unit_s, from_s in _UNITS:
        if seconds >= from_s:
            return f"{seconds / unit_s:.3g} {unit}"
    return f"{seconds:.3g} s"
