"""One child process: started, watched, started again when it ends by itself, stopped when told."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import structlog

from console.supervision.orphans import die_with_parent
from storage.errors import ConfigurationError

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_STEADY_SECONDS = 60.0
_WAIT_SECONDS = 0.1
_LARGEST_LOG_BYTES = 20_000_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: its name, the arguments of `oncue`, the variables it gets, and where its output goes.

    Without a ``log`` it goes where its parent's goes.
    """

    name: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str]
    log: Path | None


class Child:
    """A program under watch. Not thread-safe: one supervisor calls it from one thread."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at: float | None = None
        self._pause = _FIRST_PAUSE_SECONDS

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How it ended, None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the program, with its output at the end of its log file."""
        with _opened(self.program.log) as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own executable with arguments made here
                [oncue_executable(), *self.program.arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.program.variables},
                # A terminal's Ctrl-C reaches the parent alone, which stops its children in order.
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - the parent's one other thread only waits for signals
            )
        self._started_at = time.monotonic()
        log.info("child.started", name=self.program.name, pid=self._process.pid)

    def watch(self) -> None:
        """Start the program again where it ended by itself, after a pause that doubles while it keeps ending."""
        if self.exit_code is None:
            return
        now = time.monotonic()
        if self._restart_at is None:
            steady = now - self._started_at >= _STEADY_SECONDS
            self._pause = _FIRST_PAUSE_SECONDS if steady else self._pause
            self._restart_at = now + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE_SECONDS)
            where = str(self.program.log or "here")
            log.warning("child.ended", name=self.program.name, exit_code=self.exit_code, log=where)
        if now >= self._restart_at:
            self._restart_at = None
            self.start()

    def ask_to_end(self) -> None:
        """Send SIGTERM; it then finishes what it does, within bounds of its own."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def join(self, hurry: threading.Event) -> None:
        """Wait until it has ended; ``hurry`` ends the patience with it."""
        if self._process is None:
            return
        while self._process.poll() is None and not hurry.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_WAIT_SECONDS)
        if self._process.poll() is None:
            log.warning("child.killed", name=self.program.name)
            self._process.kill()
            self._process.wait()
        log.info("child.stopped", name=self.program.name, exit_code=self._process.returncode)

    def last_words(self) -> str:
        """Return the last line that it wrote, for the message that says why nothing came up."""
        if self.program.log is None or not self.program.log.is_file():
            return ""
        lines = self.program.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def oncue_executable() -> str:
    """Return the path of `oncue` beside this interpreter; ConfigurationError where it is not installed."""
    own = Path(sys.executable).parent / "oncue"
    found = str(own) if own.is_file() else shutil.which("oncue")
    if found is None:
        raise ConfigurationError("the `oncue` command is not installed beside this Python; install the package")
    return found


@contextlib.contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO | None]:
    """Open the end of a log; None, the parent's output, where there is none."""
    if path is None:
        yield None
        return
    _rotate(path)
    with path.open("ab") as output:
        yield output


def _rotate(path: Path) -> None:
    """Set a log aside that has grown large; one older generation is kept."""
    if path.is_file() and path.stat().st_size > _LARGEST_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
