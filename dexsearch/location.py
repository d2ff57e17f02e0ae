"""Places that are a folder or a URI, as text; standard library only.

A URI may carry options: `s3://bucket/a?endpoint_override=10.0.0.9:9000&scheme=http`. They stay
at its end, whatever is appended to its path.
"""

import re
from pathlib import Path

_SECRET = "(?i:secret|password|token|key)"
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_uri(location: str) -> bool:
    """Return whether a location is a URI, else it is the path of a folder."""
    return _URI.match(location) is not None


def is_elsewhere(location: str) -> bool:
    """Return whether a location means the same from wherever it is read: no relative folder."""
    return is_uri(location) or Path(location).is_absolute()


def shown(location: str) -> str:
    """Return a location for messages: without the keys that somebody may have put in it."""
    if not is_uri(location):
        return location
    path, mark, options = location.partition("?")
    path = re.sub(r"://.*@", "://***@", path)
    return path + mark + re.sub(rf"([^&=]*{_SECRET}[^&=]*)=[^&]*", r"\1=***", options)


def holds_a_key(location: str) -> bool:
    """Return whether a URI carries what only its user may know."""
    path, _, options = location.partition("?")
    host = path.partition("://")[2].partition("/")[0]
    names = [option.partition("=")[0] for option in options.split("&")]
    if path.startswith("s3://") and ("@" in host or ":" in host):
        return True
    return ":" in host.rpartition("@")[0] or any(re.search(_SECRET, name) for name in names)


def below(location: str, *names: str) -> str:
    """Return the location of what is called `names[0]/names[1]/..` in a folder or under a URI."""
    if not is_uri(location):
        return str(Path(location, *names))
    path, mark, options = location.partition("?")
    return "/".join((path.rstrip("/"), *names)) + mark + options


def above(location: str, levels: int = 1) -> str:
    """Return the location that a location is in, one or more levels up."""
    if not is_uri(location):
        return str(Path(location).parents[levels - 1])
    path, mark, options = location.partition("?")
    return path.rstrip("/").rsplit("/", levels)[0] + mark + options


def name_of(location: str) -> str:
    """Return the last name of a location."""
    return Path(location.partition("?")[0] if is_uri(location) else location).name
