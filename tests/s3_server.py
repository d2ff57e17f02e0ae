"""An S3 server on this machine: moto's, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

KEYS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "not-told-to-anybody",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What a client has in its environment."""


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    port: int

    def bucket(self, name: str) -> str:
        """Make a bucket and return its URI."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{name}", method="PUT")
        urllib.request.urlopen(request).close()
        return self.uri(name)

    def uri(self, path: str) -> str:
        """Return the URI of a bucket, or of a folder in one."""
        return f"s3://{path}?endpoint_override=127.0.0.1:{self.port}&scheme=http"


@contextmanager
def s3_server(**environment: str) -> Iterator[S3Server]:
    """Run a server, with more in its environment, until the block ends; all is in memory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONWARNINGS": "ignore"} | environment,
    )
    try:
        _wait_for(port, server)
        yield S3Server(port)
    finally:
        server.kill()
        server.wait()


def _wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
