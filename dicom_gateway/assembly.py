"""Decide that a study is complete: nothing came for a while, and no open association is still sending it.

The times stand in the database, so a restart forgets nothing and any gateway can close any study.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from storage import studies
from storage.database import Database

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Assembly:
    """Closes quiet studies, each in a transaction that opens its job too."""

    database: Database
    quiet_seconds: float
    clock: Callable[[], datetime]

    def close_quiet(self) -> float | None:
        """Close every study that is quiet now, and return in how many seconds the next one may be, None for none.

        Another gateway, or a late image, may come first. A study that an open association holds back does not count
        for the time: the end of that association is what it waits for.
        """
        with self.database.read() as session:
            now = self.clock()
            quiet = studies.quiet(session, quiet_seconds=self.quiet_seconds, now=now)
            seconds = studies.seconds_until_quiet(session, quiet_seconds=self.quiet_seconds, now=now)
        for study_id in quiet:
            with self.database.write() as session:
                job_id = studies.close(session, study_id, quiet_seconds=self.quiet_seconds, now=self.clock())
            if job_id is not None:
                logger.info("study.closed", study=study_id, job=job_id)
        return seconds
