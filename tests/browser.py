"""A real browser for tests: Chromium without a window, told what to do by its DevTools protocol over a pipe."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_SECONDS = 60
# The protocol is spoken over the descriptors 3 and 4.
_BEGIN = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_OPTIONS = (
    *("--headless", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-sync", "about:blank"),
)


class Browser:
    """One page of it.

    Attributes:
        complaints: what the page has complained of: errors of scripts, what its policy has stopped.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", commands: int, answers: int) -> None:
        self._process, self._commands, self._answers = process, commands, answers
        self._number, self._rest, self._loads = 0, b"", 0
        self.complaints: list[str] = []
        self._session: str | None = None
        targets = self._ask("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for what in ("Page", "Runtime", "Log", "Network", "Security"):
            self._ask(f"{what}.enable")
        self._ask("Security.setIgnoreCertificateErrors", ignore=True)

    def open(self, address: str) -> None:
        with self.loading():
            self._ask("Page.navigate", url=address)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Waits until what the block begins has loaded a page."""
        before = self._loads
        yield
        end = time.monotonic() + _SECONDS
        while self._loads == before:
            assert time.monotonic() < end, "the page did not load"
            self._read()

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, script: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + _SECONDS
        while not self.run(script):
            assert time.monotonic() < end, script
            time.sleep(0.02)

    def text(self) -> str:
        return str(self.run("document.body.innerText"))

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self._ask("Input.insertText", text=text)

    def cookies(self) -> list[dict[str, Any]]:
        return list(self._ask("Network.getCookies")["cookies"])

    def look(self, width: int, *, dark: bool = False) -> None:
        """So wide a window, and a theme."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)
        self._ask("Emulation.setScrollbarsHidden", hidden=True)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[theme])

    def picture(self) -> bytes:
        """The whole page, PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def _ask(self, method: str, **values: Any) -> Any:
        self._number += 1
        told = {"id": self._number, "method": method, "params": values}
        if self._session is not None:
            told["sessionId"] = self._session
        os.write(self._commands, json.dumps(told).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            piece = os.read(self._answers, 2**20)
            assert piece, f"the browser has ended ({self._process.poll()})"
            self._rest += piece
        one, _, self._rest = self._rest.partition(b"\0")
        told: dict[str, Any] = json.loads(one)
        what, values = told.get("method"), told.get("params", {})
        if what == "Page.loadEventFired":
            self._loads += 1
        elif what == "Runtime.exceptionThrown":
            self.complaints.append(str(values["exceptionDetails"]))
        elif (
            what == "Log.entryAdded"
            and values["entry"]["source"] != "network"
            and values["entry"]["level"] in ("warning", "error")
        ):
            self.complaints.append(values["entry"]["text"])
        return told


@contextmanager
def browser() -> Iterator[Browser]:
    """One with a profile of its own."""
    assert CHROMIUM is not None
    theirs_in, commands = _pipe()
    answers, theirs_out = _pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _BEGIN,
                str(theirs_in),
                str(theirs_out),
                CHROMIUM,
                f"--user-data-dir={profile}",
                *_OPTIONS,
            ],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": profile},
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Browser(process, commands, answers)
        finally:
            os.close(commands)  # which ends it
            os.close(answers)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _pipe() -> tuple[int, int]:
    """Its ends, away from 3 and 4."""
    ends = os.pipe()
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 100) for end in ends)
    for end in ends:
        os.close(end)
    return read, write
