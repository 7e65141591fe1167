"""A TLS context that follows its files: renewed certificates and revocation lists count without a restart."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from storage.errors import ConfigurationError

Stamp = tuple[int, int, int] | None
"""Inode, size and time of change of a file; None where it is not there."""

logger = structlog.get_logger(__name__)


class ReloadedContext:
    """Builds a context anew when one of its files has changed; where that fails, the one before stays in use.

    Building raises ConfigurationError; only the first one is passed on, from the constructor.
    """

    def __init__(self, name: str, build: Callable[[], ssl.SSLContext], files: Iterable[Path]) -> None:
        self._name = name
        self._build = build
        self._files = tuple(files)
        self._lock = threading.Lock()
        self._stamps = self._stamped()
        self._context = build()

    def current(self) -> ssl.SSLContext:
        """Return the context of the files as they are now, or of the last ones that could be used."""
        with self._lock:
            # Read before the files are: a change while they are read is noticed the next time.
            stamps = self._stamped()
            if stamps != self._stamps:
                self._stamps = stamps
                self._reload()
            return self._context

    def _reload(self) -> None:
        try:
            self._context = self._build()
        except ConfigurationError as error:
            logger.warning("certificates.not_reloaded", code=error.code, used_by=self._name, reason=str(error))
        else:
            logger.info("certificates.reloaded", used_by=self._name)

    def _stamped(self) -> tuple[Stamp, ...]:
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
