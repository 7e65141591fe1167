"""Threads that do one round after another until they are told to stop, through whatever outage comes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from storage.errors import OncueError

_LONGEST_PAUSE_SECONDS = 30.0
_JOIN_SECONDS = 30.0

logger = structlog.get_logger(__name__)


class Loop:
    """Calls ``work`` every ``seconds``; after a failed round the pause doubles, up to half a minute.

    ``work`` returns True where there is more to do at once. Stopping does not wait for the pause to end.
    """

    def __init__(self, name: str, work: Callable[[], bool], *, seconds: float) -> None:
        self._name = name
        self._work = work
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin the first round."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end; ``join`` waits for it."""
        self._stopping.set()

    def join(self) -> None:
        """Wait until the round in progress is over."""
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        failures = 0
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                pause = 0.0 if self._work() else self._seconds
                failures = 0
            except OncueError as error:
                failures += 1
                logger.warning("loop.failed", loop=self._name, code=error.code, failures=failures, reason=str(error))
            except Exception:  # edge: a fault in one round must not end the loop for good
                failures += 1
                logger.exception("loop.failed", loop=self._name, code="unexpected_error", failures=failures)
            if failures:
                pause = min(self._seconds * 2.0 ** min(failures, 20), _LONGEST_PAUSE_SECONDS)
