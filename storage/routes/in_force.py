"""The file of routes that a site runs by: read again when it changes, kept as it was while it is wrong."""

from __future__ import annotations

import threading
from pathlib import Path

import structlog

from storage.errors import RoutesInvalid
from storage.routes.file import Routes, load_routes

logger = structlog.get_logger(__name__)


class RoutesInForce:
    """Hands out the routes of a file; where it need not be there and is not, those that ship.

    A file that is wrong at the start is refused with RoutesInvalid; one that becomes wrong later, or is taken away, is
    logged, and the routes that held before go on holding.
    """

    def __init__(self, path: Path | None = None, *, required: bool = True) -> None:
        self._path = path
        self._required = required
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._routes = self._load()

    def current(self) -> Routes:
        """Return the routes that hold now."""
        with self._lock:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                self._reload()
            return self._routes

    def _reload(self) -> None:
        # One that is gone may be about to be written anew; to fall back on the shipped routes takes a restart.
        try:
            self._routes = load_routes(self._path)
        except RoutesInvalid as error:
            logger.warning("routes.refused", code=error.code, reason=str(error), sha256=self._routes.sha256)
        else:
            logger.info("routes.in_force", sha256=self._routes.sha256)

    def _load(self) -> Routes:
        missing = self._path is not None and not self._required and not self._path.exists()
        return load_routes(None if missing else self._path)

    def _stamp(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size
