"""An HTTP server before another one that loses, delays or never answers what it is told to."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal["none", "drop", "lose", "hang", "slow"]
"""drop: the request never arrives; lose: it arrives, its answer is lost; hang: no answer, ever."""
DELAY_S = 0.05


class FaultyProxy:
    """What the proxy does with the requests, counted from 1; `/health` is always answered."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.fault: Callable[[int, str, str], Fault] = lambda number, method, path: "none"
        self.n_requests = 0
        self.seen: list[str] = []
        self.over = threading.Event()
        self._lock = threading.Lock()
        self.server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def restart(self) -> None:
        """Count from 1 again."""
        self.n_requests = 0
        self.seen.clear()

    def next_fault(self, method: str, path: str) -> Fault:
        if path == "/health":
            return "none"
        with self._lock:
            self.n_requests += 1
            self.seen.append(f"{method} {path.partition('?')[0]}")
            return self.fault(self.n_requests, method, path)


@contextmanager
def faulty_proxy(target: str) -> Iterator[FaultyProxy]:
    """Run a proxy before `target` on a free port of this machine."""
    proxy = FaultyProxy(target)

    class Handler(BaseHTTPRequestHandler):
        def _relay(self) -> None:
            relay(proxy, self)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _relay  # noqa: N815

        def log_message(self, *_: Any) -> None:  # noqa: ANN401
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.server = server
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def relay(proxy: FaultyProxy, asked: BaseHTTPRequestHandler) -> None:
    """Do with one request what the proxy's fault says."""
    fault = proxy.next_fault(asked.command, asked.path)
    body = asked.rfile.read(int(asked.headers.get("Content-Length", 0)))
    asked.close_connection = True
    if fault == "drop":
        return
    if fault == "hang":
        proxy.over.wait()
        return
    if fault == "slow":
        proxy.over.wait(DELAY_S)
    answer = http.client.HTTPConnection(proxy.target.hostname or "", proxy.target.port)
    with suppress(OSError):
        headers = {k: v for k, v in asked.headers.items() if k.lower() != "connection"}
        answer.request(asked.command, asked.path, body, headers)
        got = answer.getresponse()
        content = got.read()
        if fault != "lose":
            asked.send_response(got.status)
            for key, value in got.getheaders():
                if key.lower() in ("content-type", "location"):
                    asked.send_header(key, value)
            asked.send_header("Content-Length", str(len(content)))
            asked.end_headers()
            asked.wfile.write(content)
    answer.close()
