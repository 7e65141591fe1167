"""Events of refused tokens, in bounded number: what somebody repeats must not fill the history."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from datetime import datetime, timedelta

import structlog

from console.access.visitor import Visitor
from storage import audit
from storage.access_errors import AccessRefused, TokenLapsed
from storage.audit import Detail
from storage.database import Database

ONE_KIND = timedelta(minutes=10)
"""How long the same refusal of the same address stands for those that follow."""

MOST_AN_HOUR = 60
_HOUR = timedelta(hours=1)
_MOST_KINDS = 1024

log = structlog.get_logger(__name__)


class RefusalRecord:
    """Writes a refusal once for an address and a code in ten minutes, and sixty an hour in all.

    Those in between are counted: ``unrecorded`` of the next event says how many there were since the last.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._written_at: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        self._lately: deque[datetime] = deque(maxlen=MOST_AN_HOUR)
        self._unrecorded = 0

    def note(self, address: str, error: AccessRefused, *, now: datetime) -> None:
        """Put a refusal on record, or count it."""
        unrecorded = self._due(address, error.code, now)
        if unrecorded is None:
            return
        subject = f"token/{error.name}" if isinstance(error, TokenLapsed) else "token"
        details: dict[str, Detail] = {"address": address, "code": error.code, "unrecorded": unrecorded}
        log.warning("token.refused", code=error.code, address=address, unrecorded=unrecorded)
        with self._database.write() as session:
            actor = Visitor(address).actor
            audit.record(session, "user:login-refused", subject, actor=actor, now=now, details=details)

    def _due(self, address: str, code: str, now: datetime) -> int | None:
        """Return how many went unrecorded where this one is to be written, None where it is one of them."""
        with self._lock:
            last = self._written_at.get((address, code))
            is_told = last is not None and now - last < ONE_KIND
            is_full = len(self._lately) == MOST_AN_HOUR and now - self._lately[0] < _HOUR
            if is_told or is_full:
                self._unrecorded += 1
                return None
            self._written_at[address, code] = now
            self._written_at.move_to_end((address, code))
            if len(self._written_at) > _MOST_KINDS:
                self._written_at.popitem(last=False)
            self._lately.append(now)
            unrecorded, self._unrecorded = self._unrecorded, 0
            return unrecorded
