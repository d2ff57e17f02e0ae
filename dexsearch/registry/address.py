"""Where MLflow is: the workspace's own SQLite file, a server, or a database.

    None                         WORKSPACE/mlflow.db
    http(s)://HOST[:PORT]        a server; `dexsearch server` starts one
    postgresql://USER@HOST/NAME  a database, where no server is needed
    sqlite:///FILE               another file

Standard library only, so that a wrong address is told before anything heavy is imported.
"""

import http.client
import re
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from dexsearch.errors import ConfigurationError

DATABASE = "mlflow.db"
KNOCK_S = 3.0
"""How long an address may take to answer whether it is there."""
POSTGRESQL = ("postgresql", "postgresql+psycopg2", "postgres")
_PORTS = {"http": 80, "https": 443, **dict.fromkeys(POSTGRESQL, 5432)}


def tracking_uri(workspace: Path) -> str:
    """Return the address of a workspace's store, as `mlflow ui --backend-store-uri` takes it."""
    return f"sqlite:///{(workspace / DATABASE).absolute()}"


def is_own(workspace: Path, uri: str | None) -> bool:
    """Return whether an address is the workspace's own file."""
    return uri is None or uri == tracking_uri(workspace)


def is_server(uri: str) -> bool:
    """Return whether an address is that of a server, which keeps the artifacts too."""
    return urllib.parse.urlsplit(uri).scheme in ("http", "https")


def check_uri(uri: str | None) -> str | None:
    """Return an address as MLflow takes it; None stays None.

    Raises:
        ConfigurationError: if nothing that we can use is there by its form.
    """
    if uri is None:
        return None
    try:
        parts = urllib.parse.urlsplit(uri)
        usable = bool(parts.hostname) and parts.port != 0 if parts.scheme in _PORTS else (
            parts.scheme == "sqlite" and uri.startswith("sqlite:///") and len(parts.path) > 1
        )  # fmt: skip
    except ValueError:  # a port that is no number
        usable = False
    if not usable:
        raise ConfigurationError(
            f"--tracking-uri {shown(uri)!r} is no address of MLflow; allowed are "
            "http://HOST:PORT, https://HOST, postgresql://USER@HOST/NAME and sqlite:///FILE",
            hint="leave it away for the workspace's own file, or start a server: dexsearch server",
        )
    if parts.scheme in POSTGRESQL:  # SQLAlchemy 2.1 takes another driver unless told otherwise
        return "postgresql+psycopg2" + uri.removeprefix(parts.scheme)
    return uri.rstrip("/") if parts.scheme in ("http", "https") else uri


def shown(uri: str) -> str:
    """Return an address without its password, for messages.

    Without `://` it is mistyped, and all between its first `:` and its last `@` may be one.
    """
    head, separator, tail = uri.partition("://")
    user, at, place = tail.rpartition("@")
    if not separator or "@" in head:
        user, at, place = uri.rpartition("@")
        head = separator = ""
    name, colon, _ = user.partition(":")
    place = re.sub(r"(?i)([?&][^=&]*password)=[^&]*", r"\1=***", place)
    return f"{head}{separator}{name}{':***' if colon else ''}{at}{place}"


def why_silent(uri: str | None) -> str | None:
    """Knock at an address and return why it does not answer now; None if it does.

    It takes `KNOCK_S` per address of the host at most. A file is always there.
    """
    parts = urllib.parse.urlsplit(uri or "")
    if uri is None or parts.scheme not in _PORTS:
        return None
    try:
        if not is_server(uri):
            place = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
            socket.create_connection(place, timeout=KNOCK_S).close()
            return None
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        request = urllib.request.Request(f"{bare.geturl().rstrip('/')}/health")
        urllib.request.urlopen(request, timeout=KNOCK_S).close()
    except urllib.error.HTTPError:  # it speaks; what it allows is found out later
        return None
    except urllib.error.URLError as error:
        return _told(error.reason)
    except (OSError, http.client.HTTPException, ssl.SSLError) as error:
        return _told(error)
    return None


def _told(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f"no answer within {KNOCK_S:.0f} s"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return str(reason) or type(reason).__name__
