"""Places that are a folder or a URI, as text; standard library only.

A URI may carry options: `s3://bucket/a?endpoint_override=10.0.0.9:9000&scheme=http`. They stay
at its end, whatever is appended to its path.
"""

import re
from pathlib import Path

SCHEMES = ("s3", "gs", "hdfs", "file")
"""Kinds of URIs that checkpoints are kept behind."""
_AT = "(?:@|%40)"
_SECRET = "(?i:secret|password|token|key|sig|credential)"
_PLAIN_OPTIONS = (
    "endpoint_override", "region", "scheme", "tls_ca_file_path", "user", "replication",
    "buffer_size", "default_block_size", "retry_limit_seconds",
)  # fmt: skip
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_HALF_URI = re.compile(rf"(?i)\s*(?:[a-z][a-z0-9+.-]*:/|(?:{'|'.join(SCHEMES)}):)")


def is_uri(location: str) -> bool:
    """Return whether a location is a URI, else it is the path of a folder."""
    return _URI.match(location) is not None


def is_elsewhere(location: str) -> bool:
    """Return whether a location means the same from wherever it is read: no relative folder."""
    return is_uri(location) or Path(location).is_absolute()


def why_no_place(location: str) -> str | None:
    """Return why checkpoints can be kept at no such location, whatever is there; None if they can.

    What comes close to a URI is not taken for the name of a folder: a slip of the finger in
    `s3://KEY:SECRET@bucket` would write the key into the file system.
    """
    if not location.strip():
        return "it is empty, as a variable is that was never set"
    if is_uri(location):
        scheme = location.partition("://")[0]
        allowed = ", ".join(f"{known}://" for known in SCHEMES)
        return None if scheme in SCHEMES else f"{scheme}:// is not one of {allowed}"
    if _HALF_URI.match(location):
        return "it is neither a URI, which has :// after its first word, nor a plain folder"
    return None


def shown(location: str) -> str:
    """Return a location for messages: without the keys that somebody may have put in it.

    Whatever stands before the last `@` may be one, and so may the value of an unknown option.
    """
    if not is_uri(location):
        if not _HALF_URI.match(location):
            return location
        return re.sub(rf"(?s):.*{_AT}", ":***@", location)
    path, mark, options = re.sub(rf"(?s)://.*{_AT}", "://***@", location).partition("?")
    told = (_shown_option(option) for option in options.split("&"))
    return path + mark + "&".join(told)


def _shown_option(option: str) -> str:
    name, _, _ = option.partition("=")
    if name in _PLAIN_OPTIONS or not option:
        return option
    return f"{name}=***" if "=" in option else "***"


def holds_a_key(location: str) -> bool:
    """Return whether a URI carries what only its user may know."""
    path, _, options = location.partition("?")
    host = path.partition("://")[2].partition("/")[0]
    names = [option.partition("=")[0] for option in options.split("&")]
    if path.startswith("s3://") and ("@" in host or ":" in host):
        return True
    if re.search(_AT, options):
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
