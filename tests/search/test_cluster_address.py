"""Laws of addresses of clusters: each mistake is named in seconds, and no password repeated."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dexsearch.errors import EnvironmentFault
from dexsearch.search import cluster_address
from dexsearch.search.cluster import refuse_bad_address
from dexsearch.search.cluster_address import host_and_port
from dexsearch.search.cluster_probe import renamed

SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


@contextmanager
def server_that_says(words: bytes) -> Iterator[str]:
    """A server that greets with some bytes, or closes where there are none."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                if words:
                    connection.sendall(words)
                    connection.recv(64)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            thread.join()


def refusal(address: str) -> EnvironmentFault:
    with pytest.raises(EnvironmentFault) as refused:
        refuse_bad_address(address)
    assert refused.value.exit_code == 4
    return refused.value


@pytest.mark.parametrize(
    ("address", "told", "hint"),
    [
        ("ray://head:10001", "is Ray Client", "--address HOST:6379"),
        ("http://127.0.0.1:18081", "is a URL", "HOST:PORT"),
        ("local", "is no cluster", "leave --address out"),
        ("localhost", "is not HOST:PORT", "add the port: --address localhost:6379"),
        ("[::1]:6379", "IPv6", "IPv4"),
        ("::1:6379", "IPv6", "IPv4"),
        ("", "is not HOST:PORT", "HOST:PORT"),
        ("head:", "is not HOST:PORT", "HOST:PORT"),
        (":6379", "is not HOST:PORT", "HOST:PORT"),
        ("head:port", "is not HOST:PORT", "HOST:PORT"),
        ("127.0.0.1:\N{SUPERSCRIPT TWO}", "is not HOST:PORT", "HOST:PORT"),
        ("127.0.0.1:\N{ARABIC-INDIC DIGIT TWO}", "is not HOST:PORT", "HOST:PORT"),
        ("127.0.0.1:0", "from 1 to 65535", "HOST:PORT"),
        ("127.0.0.1:99999", "from 1 to 65535", "HOST:PORT"),
        ("127.0.0.1:" + "9" * 5000, "from 1 to 65535", "HOST:PORT"),
    ],
)
def test_what_is_no_address_is_refused_with_what_is_wanted(
    address: str, told: str, hint: str
) -> None:
    error = refusal(address)
    assert told in str(error)
    assert hint in (error.hint or "")


@pytest.mark.parametrize("host", ["h" * 70, "a..b", "\N{SNOWMAN}" * 70])
def test_a_host_name_that_cannot_be_one_is_refused(host: str) -> None:
    assert "no such host name" in str(refusal(f"{host}:6379"))


@pytest.mark.parametrize("address", ["me:s3cret@127.0.0.1:1", "http://me:s3cret@127.0.0.1:1"])
def test_a_password_is_not_repeated(address: str) -> None:
    error = refusal(address)
    assert "s3cret" not in f"{error} {error.hint}"
    assert "127.0.0.1:1" in str(error)


def test_an_address_is_read() -> None:
    assert host_and_port("head.example.org:06379") == ("head.example.org", 6379)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a web server"),
        (b"<!DOCTYPE HTML>\n<html>", "a web server"),
        (b"220 mail.example.org ESMTP\r\n", "a mail or FTP server"),
        (b"-ERR unknown command\r\n", "something that says '-ERR unknown command'"),
    ],
)
def test_who_answers_instead_of_ray_is_named(words: bytes, told: str) -> None:
    with server_that_says(words) as address:
        error = refusal(address)
    assert f"no Ray cluster answers at {address}, but {told}" in str(error)
    assert "--port=6379" in (error.hint or "")


@pytest.mark.parametrize("words", [SETTINGS, b"\x15\x03\x03\x00\x02\x02\x28", b""])
def test_grpc_and_what_may_be_tls_is_left_to_ray(words: bytes) -> None:
    with server_that_says(words) as address:
        refuse_bad_address(address)


def test_silence_is_told_unless_tls_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_address, "GREETING_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert "something that says nothing for 0.1 s" in str(refusal(address))
        monkeypatch.setenv("RAY_USE_TLS", "1")
        refuse_bad_address(address)


def test_that_ray_looked_at_another_address_is_told() -> None:
    told = renamed("127.0.0.1:6379", "192.0.2.2:6379")
    assert told == " (Ray takes 127.0.0.1:6379 for 192.0.2.2:6379)"
    assert renamed("192.0.2.2:6379", "192.0.2.2:6379") == ""
    assert renamed("auto", "192.0.2.2:6379") == ""
    assert renamed("127.0.0.1:6379", None) == ""
