"""What the process that seals does for the history once a day: months ahead, and a look at the guards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from storage import audit
from storage.database import Database
from storage.errors import OncueError
from storage.history import guards, partitions

_EACH = timedelta(days=1)
_AGAIN = timedelta(minutes=10)
_MOST_CHARACTERS = 2000

log = structlog.get_logger(__name__)


class Upkeep:
    """Looks after the history when it is first asked, and once a day from then on; for one thread."""

    def __init__(self, database: Database, *, actor: str, clock: Callable[[], datetime]) -> None:
        """Do nothing yet. ``actor`` is the process in whose name events are written."""
        self._database = database
        self._actor = actor
        self._clock = clock
        self._due: datetime | None = None

    def round(self) -> None:
        """Look after the history where it is time to; what cannot be done now is tried again in ten minutes."""
        now = self._clock()
        if self._due is not None and now < self._due:
            return
        try:
            late = partitions.make_ahead(self._database, now=now)
            report_guards(self._database, actor=self._actor, now=now)
        except OncueError as error:
            self._due = now + _AGAIN
            log.warning("audit.not_looked_after", code=error.code, reason=str(error))
            return
        self._due = now + (_AGAIN if late else _EACH)
        if late:
            log.warning("audit.months_not_made", months=late)


def report_guards(database: Database, *, actor: str, now: datetime) -> tuple[str, ...]:
    """Return which guards are missing or changed, and write it down as an event where there are such."""
    with database.read() as session:
        missing = guards.missing(session)
    if missing:
        log.error("audit.guards_missing", guards=missing)
        with database.write() as session:
            details: dict[str, audit.Detail] = {"guards": "; ".join(missing)[:_MOST_CHARACTERS], "count": len(missing)}
            audit.record(session, "audit:guards-missing", "history/guards", actor=actor, now=now, details=details)
    return missing
