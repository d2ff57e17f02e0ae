"""Laws of answers that have to arrive in time; a real server that sends byte by byte."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import requests

from dexsearch.registry import arriving
from dexsearch.registry.arriving import Arriving

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n"
Serve = Callable[[bytes, bytes], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer once: some bytes at once, then others one by one, for ever; return the address."""
    is_over = threading.Event()
    threads: list[threading.Thread] = []

    def begin(at_once: bytes, one_by_one: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))

        def answer() -> None:
            with listener, listener.accept()[0] as connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(at_once)
                while one_by_one and not is_over.wait(0.01):
                    connection.sendall(one_by_one)

        threads.append(threading.Thread(target=answer))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    yield begin
    is_over.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def asked(url: str, **limits: float) -> Arriving:
    return Arriving(lambda: requests.get(url, stream=True, timeout=30), **limits)


@pytest.mark.parametrize(
    ("at_once", "one_by_one"), [(HEAD, b"x"), (CHUNKED, b"x"), (b"HTTP/1.1 200 OK\r\nA: ", b"x")]
)
def test_byte_by_byte_is_no_way_to_hold_the_reader(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, at_once: bytes, one_by_one: bytes
) -> None:
    monkeypatch.setattr(arriving, "PIECE_WITHIN_S", 0.1)
    monkeypatch.setattr(arriving, "_CLOSING_S", 0.01)
    with pytest.raises(TimeoutError, match="too slowly"):
        list_of(asked(serve(at_once, one_by_one)), 2**20)


def test_pieces_in_time_do_not_make_the_whole_endless(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "_CLOSING_S", 0.01)
    with pytest.raises(TimeoutError, match="too slowly"):
        list_of(asked(serve(HEAD, b"xx"), whole_s=0.2), 2)


def test_an_answer_in_time_is_the_answer(serve: Serve) -> None:
    body = bytes(range(256)) * 10
    head = f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with asked(serve(head + body, b"")) as answer:
        assert answer.status_code == 404
        pieces = list(answer.iter_content(1000))
    assert [len(piece) for piece in pieces] == [1000, 1000, 560]
    assert b"".join(pieces) == body


def test_an_error_of_the_other_thread_is_that_of_the_reader(serve: Serve) -> None:
    with pytest.raises(requests.ConnectionError):
        asked("http://127.0.0.1:1/").__enter__()
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        list_of(asked(serve(HEAD + b"not all of it", b"")), 1000)


def test_who_has_had_enough_leaves_at_once_and_nothing_stays(serve: Serve) -> None:
    for at_once in (HEAD + bytes(500_000), HEAD):
        answer = asked(serve(at_once, b"xxxx"))
        with answer:
            if at_once != HEAD:
                next(answer.iter_content(1000))
        assert not answer._thread.is_alive()


def list_of(answer: Arriving, chunk_bytes: int) -> list[bytes]:
    with answer:
        return list(answer.iter_content(chunk_bytes))
