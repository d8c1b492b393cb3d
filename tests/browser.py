"""A headless Chromium that a test drives by the DevTools protocol, over a pipe: no Python package is needed.

Chromium reads commands from its file descriptor 3 and writes answers and events to 4, JSON that ends in NUL.
"""

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def program() -> str:
    """Find a Chromium; .ci/run installs one, elsewhere a test is skipped without it."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        assert not os.environ.get("CI"), f"none of {', '.join(PROGRAMS)} is here, and .ci/run installs one"
        pytest.skip(f"no browser here (none of {', '.join(PROGRAMS)}); apt-get install chromium")
    return found


class Page:
    """A browser with one page open.

    Attributes:
        said: what the page and the browser wrote to the console, errors included.
        asked: the addresses that the page has asked for, in order.
    """

    def __init__(self, profile: Path) -> None:
        (self._out, ours), (theirs, self._in) = os.pipe(), os.pipe()
        # Above 9, so that neither is 3 or 4 before the shell has put them there.
        read, write = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs, ours))
        own = ["--no-sandbox"] if os.geteuid() == 0 else []
        shell = ["bash", "-c", f'exec "$0" "$@" 3<&{read} 4>&{write}', program(), *FLAGS, *own]
        self._process = subprocess.Popen(
            [*shell, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (ours, theirs, read, write):
            os.close(end)
        self._reader = os.fdopen(self._out, "rb")
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._loaded = False
        self.said: list[str] = []
        self.asked: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give the page, or at first the browser, a command and return its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._in, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, found["error"]
                return found["result"]

    def _next(self) -> dict[str, Any]:
        """Read the next answer or event, and keep what the events say."""
        while b"\0" not in self._buffer:
            more = self._reader.read1()
            assert more, "the browser has ended"
            self._buffer += more
        text, _, self._buffer = self._buffer.partition(b"\0")
        found = json.loads(text)
        given = found.get("params", {})
        match found.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.asked.append(given["request"]["url"])
            case "Runtime.consoleAPICalled":
                self.said.append(f"{given['type']}: {given['args']}")
            case "Runtime.exceptionThrown":
                self.said.append(str(given["exceptionDetails"]))
            case "Log.entryAdded":
                self.said.append(given["entry"]["text"])
        return found

    def open(self, address: str, *, scheme: str = "light", size: tuple[int, int] = (1200, 900)) -> None:
        """Open a page and wait until it has loaded.

        Args:
            address: its URL.
            scheme: the colours that the reader prefers, light or dark.
            size: of the window, in pixels; up to 500 wide it is a phone's.
        """
        self.said, self.asked, self._loaded = [], [], False
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width <= 500,
        )
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._next()

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def close(self) -> None:
        """End the browser."""
        os.close(self._in)  # it ends when its pipe does
        self._reader.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
