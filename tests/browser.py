"""A headless Chromium, driven over a pipe by its DevTools protocol; standard library only."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

REQUIRED = "DEXSEARCH_REQUIRE_BROWSER"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip


def chromium_or_skip() -> str:
    """Return the browser's command; without one skip, or fail where one is required."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        message = "no chromium here: apt-get install chromium"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{message}; {REQUIRED} is set", pytrace=False)
        pytest.skip(message)
    return found


class Page:
    """One tab, with everything that it said, asked for and raised since it was opened."""

    def __init__(self, command: str) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}', command,
             *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._out)  # the browser ends when its pipe does
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        self._profile.cleanup()

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Send one command and return its result; events on the way are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def open(self, place: Path | str) -> None:
        """Load a file or a URL and wait until everything in it is loaded."""
        self.events.clear()
        url = place.absolute().as_uri() if isinstance(place, Path) else place
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401
        """Return the value of a JavaScript expression."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str, patience_s: float = 60.0) -> Any:  # noqa: ANN401
        """Return the value of an expression once it is true, as a page draws itself."""
        give_up = time.monotonic() + patience_s
        while not (value := self.evaluate(f"Boolean({expression}) && ({expression})")):
            if time.monotonic() > give_up:
                text = self.evaluate("document.body.innerText")
                pytest.fail(f"never true: {expression}\nThe page says:\n{text[:4000]}")
            self.evaluate("new Promise(done => setTimeout(done, 100))")
        return value

    def photograph(self, path: Path, *, width: int = 1400, height: int = 1000) -> None:
        """Write what a window of that size shows as PNG."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        taken = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(taken))

    def complaints(self) -> list[str]:
        """Return every console message, log entry and uncaught exception."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(event) for event in self.events if event.get("method") in kinds]

    def requests(self) -> list[str]:
        """Return the address of everything that was asked for, data in the page left out."""
        sent = [e["params"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        urls = [str(params["request"]["url"]) for params in sent]
        return [url for url in urls if not url.startswith("data:")]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 2**16)
            assert part, "the browser has gone"
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        return answer
