"""What is behind the address of a Ray cluster: `HOST:PORT`, read and called up in seconds."""

import os
import re
import socket
from typing import Never

from dexsearch.errors import EnvironmentFault

CONNECT_TIMEOUT_S = 2.0
GREETING_TIMEOUT_S = 5.0
"""Ray answers within milliseconds, on a machine with far too much to do within a second."""

_WANTED = "give HOST:PORT, as in --address 10.0.0.5:6379; HOST is a name or an IPv4 address"
_LARGEST_PORT = 65535
# How every client of gRPC begins; a server of gRPC, as Ray's head, answers with its own settings.
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_TEXT = re.compile(rb"[\t\r\n\x20-\x7e]+")
_KNOWN = {
    b"SSH-": "an SSH server",
    b"HTTP/": "a web server, such as MLflow or Ray's dashboard",
    b"<": "a web server, such as MLflow or Ray's dashboard",
    b"220": "a mail or FTP server",
}


def host_and_port(address: str) -> tuple[str, int]:
    """Return the two halves of an address.

    Raises:
        EnvironmentFault: if it is no `HOST:PORT`; what may be a password is not repeated.
    """
    host, _, port = address.rpartition(":")
    if address.startswith("ray://"):
        _refuse(address, "is Ray Client, which Ray Tune advises against",
                "run dexsearch on a machine of the cluster with --address HOST:6379")  # fmt: skip
    if "://" in address:
        _refuse(address, "is a URL")
    if "@" in address:
        _refuse(address, "names a user, and Ray asks for a token instead")
    if address == "local":
        _refuse(address, "is no cluster", "leave --address out to search on this machine")
    if address and ":" not in address:
        _refuse(address, "is not HOST:PORT", f"add the port: --address {address}:6379")
    if ":" in host or "[" in host:
        _refuse(address, "is an IPv6 address, which is not supported")
    if not host or not re.fullmatch(r"[0-9]+", port):
        _refuse(address, "is not HOST:PORT")
    if not 0 < int(port[:6]) <= _LARGEST_PORT:
        _refuse(address, f"has a port that does not exist; they go from 1 to {_LARGEST_PORT}")
    return host, int(port)


def _refuse(address: str, why: str, hint: str = _WANTED) -> Never:
    scheme, slashes, rest = address.rpartition("://")
    user, at, place = rest.rpartition("@")
    told = f"{scheme}{slashes}{'***' if user else ''}{at}{place}"
    raise EnvironmentFault(f"--address {told!r} {why}", hint=hint)


def refuse_stranger(address: str) -> None:
    """Check that what listens at an address may be Ray; Ray itself waits long for others.

    Raises:
        EnvironmentFault: if nobody listens, within 2 s; if what listens speaks another language,
            or says nothing for 5 s. TLS and whatever else is not text is left to Ray to judge.
    """
    host, port = host_and_port(address)
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as connection:
            greeting = _greeting(connection)
    except (OSError, UnicodeError) as error:
        reason = "no such host name" if isinstance(error, UnicodeError) else error
        raise EnvironmentFault(
            f"no Ray cluster answers at {address}: {reason}",
            hint="start one with `ray start --head`, or leave --address out to run here",
        ) from None
    stranger = _stranger(greeting)
    if stranger is not None:
        raise EnvironmentFault(
            f"no Ray cluster answers at {address}, but {stranger}",
            hint="the port is that of `ray start --head --port=6379`",
        )


def _greeting(connection: socket.socket) -> bytes | None:
    """Return the first bytes of an answer; empty if there was none, None for silence."""
    connection.settimeout(GREETING_TIMEOUT_S)
    try:
        connection.sendall(_HTTP2_PREFACE)
        return connection.recv(64)
    except TimeoutError:
        return None
    except OSError:
        return b""


def _stranger(greeting: bytes | None) -> str | None:
    """Return who answers, for a person; None if it may be Ray."""
    if greeting is None:
        if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
            return None  # a server of TLS may wait for more than was said
        return f"something that says nothing for {GREETING_TIMEOUT_S:g} s"
    for start, name in _KNOWN.items():
        if greeting.startswith(start):
            return name
    if _TEXT.fullmatch(greeting):
        return f"something that says {greeting.splitlines()[0].decode()!r}"
    return None
