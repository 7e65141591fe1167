"""A real Chromium that a test drives over its debugging pipe: it loads pages, fills forms in and presses buttons."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.support.peers import executable

SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
)
_WITH_PIPES = 'reading=$1 writing=$2; shift 2; exec "$@" 3<&"$reading" 4>&"$writing"'


@dataclass(slots=True)
class Browser:
    """One page of a browser. Each call returns when the browser has answered."""

    commands: IO[bytes]
    messages: IO[bytes]
    session: str | None = None
    _number: int = 0
    _buffer: bytearray = field(default_factory=bytearray)

    def open(self, address: str) -> None:
        """Load an address."""
        self._call("Page.navigate", url=address)
        self._await_load()

    def fill(self, selector: str, text: str) -> None:
        """Type into the field that a selector names."""
        self.ask(f"document.querySelector({json.dumps(selector)}).focus()")
        self._call("Input.insertText", text=text)

    def press(self, selector: str) -> None:
        """Press the button that a selector names, and wait for the page that comes."""
        self.ask(f"document.querySelector({json.dumps(selector)}).click()")
        self._await_load()

    def ask(self, expression: str) -> Any:
        """Return what an expression says on the page, as a person at the developer's tools would ask."""
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def text(self) -> str:
        """Return what the page shows."""
        return str(self.ask("document.body.innerText"))

    def path(self) -> str:
        """Return the address of the page, without the server."""
        return str(self.ask("location.pathname + location.search"))

    def cookies(self) -> list[dict[str, Any]]:
        """Return every cookie, also those that pages cannot see."""
        found: list[dict[str, Any]] = self._call("Network.getCookies")["cookies"]
        return found

    def attach(self) -> None:
        """Open the page that all calls are for."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")

    def close(self) -> None:
        """End the browser."""
        self.session = None
        self._call("Browser.close")

    def _await_load(self) -> None:
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def _call(self, method: str, **values: object) -> dict[str, Any]:
        self._number += 1
        session = {"sessionId": self.session} if self.session else {}
        message = {"id": self._number, "method": method, "params": values, **session}
        self.commands.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            piece = os.read(self.messages.fileno(), 65536)
            assert piece, "the browser ended"
            self._buffer += piece
        message, _, rest = self._buffer.partition(b"\0")
        self._buffer = rest
        parsed: dict[str, Any] = json.loads(message)
        return parsed


@contextlib.contextmanager
def browsing(profile: Path, *options: str) -> Iterator[Browser]:
    """Run a browser with a profile of its own until the block ends; ``options`` go to its command line."""
    (their_reading, our_writing), (our_reading, their_writing) = os.pipe(), os.pipe()
    command = ["bash", "-c", _WITH_PIPES, "bash", str(their_reading), str(their_writing), executable("chromium")]
    command += [*SWITCHES, *options, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"]
    with (profile.parent / f"{profile.name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, pass_fds=(their_reading, their_writing))
    for descriptor in (their_reading, their_writing):
        os.close(descriptor)
    with os.fdopen(our_writing, "wb", buffering=0) as commands, os.fdopen(our_reading, "rb", buffering=0) as messages:
        browser = Browser(commands, messages)
        try:
            browser.attach()
            yield browser
            browser.close()
        finally:
            if process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
            process.kill()
            process.wait()
