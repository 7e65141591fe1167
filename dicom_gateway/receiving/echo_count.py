"""Count associations that carried nothing but C-ECHO: a health check is not worth two permanent events each time."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

EVERY = timedelta(days=1)
"""How often the count is put on record."""
_MOST_PEERS = 1000


@dataclass(frozen=True, slots=True)
class Echoes:
    """How many associations of how many calling AE titles only echoed, and since when."""

    associations: int
    peers: int
    since: datetime


class EchoCount:
    """The count since it was last put on record. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._associations = 0
        self._peers: set[str] = set()
        self._since: datetime | None = None

    def add(self, calling_aet: str, *, now: datetime) -> Echoes | None:
        """Count one association; return the count, and begin anew, where it is due to be put on record."""
        with self._lock:
            self._since = self._since or now
            self._associations += 1
            if len(self._peers) < _MOST_PEERS:
                self._peers.add(calling_aet)
            return self._take() if now - self._since >= EVERY else None

    def take(self) -> Echoes | None:
        """Return what was counted and begin anew; None where nothing was."""
        with self._lock:
            return self._take()

    def _take(self) -> Echoes | None:
        if self._since is None:
            return None
        echoes = Echoes(self._associations, len(self._peers), self._since)
        self._associations, self._peers, self._since = 0, set(), None
        return echoes
