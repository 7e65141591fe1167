"""Threads that do one round after another until they are told to stop, through whatever outage comes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from storage.errors import OncueError

_LONGEST_PAUSE_SECONDS = 30.0
_JOIN_SECONDS = 30.0
_GATHER_SECONDS = 0.05

logger = structlog.get_logger(__name__)

Work = Callable[[], float | None]
"""One round; returns in how many seconds the next one is due at the latest, None where it makes no difference."""


class Loop:
    """Calls ``work`` every ``seconds``, sooner where a round asks for it or ``wake`` is called.

    A wake-up is a hint and may get lost: ``seconds`` is how long a loop that nobody wakes takes to notice. After a
    failed round the pause doubles, up to half a minute, and no wake-up shortens it. Stopping does not wait for a pause.
    """

    def __init__(self, name: str, work: Work, *, seconds: float, woken: threading.Event | None = None) -> None:
        """``woken`` is an event of the caller's that does what ``wake`` does when it is set."""
        self._name = name
        self._work = work
        self._seconds = seconds
        self._stopping = threading.Event()
        self._woken = woken or threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin the first round."""
        self._thread.start()

    def wake(self) -> None:
        """Have the next round begin at once; one in progress is followed by another."""
        self._woken.set()

    def stop(self) -> None:
        """Ask for the end; ``join`` waits for it."""
        self._stopping.set()
        self._woken.set()

    def join(self) -> None:
        """Wait until the round in progress is over."""
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                wanted = self._work()
            except OncueError as error:
                failures += 1
                logger.warning("loop.failed", loop=self._name, code=error.code, failures=failures, reason=str(error))
            except Exception:  # edge: a fault in one round must not end the loop for good
                failures += 1
                logger.exception("loop.failed", loop=self._name, code="unexpected_error", failures=failures)
            else:
                failures = 0
                pause = self._seconds if wanted is None else min(wanted, self._seconds)
                self._wait(pause)
            if failures:
                self._stopping.wait(min(self._seconds * 2.0 ** min(failures, 20), _LONGEST_PAUSE_SECONDS))

    def _wait(self, seconds: float) -> None:
        # ``stop`` sets both events, so one that came just before ``clear`` is seen here.
        if not self._stopping.is_set():
            self._woken.wait(seconds)
            if self._woken.is_set():
                # Whoever wakes a loop often wakes it again at once: one round serves them all.
                self._stopping.wait(_GATHER_SECONDS)
