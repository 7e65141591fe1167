"""Decide that a study is complete: nothing came for a while, and nobody is still sending it. Then ask the routes.

The times stand in the database, so a restart forgets nothing and any gateway can close any study.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from dicom_gateway.series_facts import stored_series
from storage import journals, receipts, studies
from storage.database import Database
from storage.objects import ObjectStore
from storage.routes.in_force import RoutesInForce
from storage.studies import SeenStudy

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Assembly:
    """Closes quiet studies, each in a transaction that opens its jobs too."""

    database: Database
    objects: ObjectStore
    routes: RoutesInForce
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
        unregistered = journals.unregistered_studies(self.objects) if quiet else frozenset()
        for study_id in quiet:
            self._close(study_id, unregistered)
        return seconds

    def _close(self, study_id: int, unregistered: frozenset[bytes]) -> None:
        with self.database.read() as session:
            uid = studies.uid_of(session, study_id)
        # An image of it that its sender was told is safe must be in the revision that closes, whoever received it.
        if receipts.study_key(uid) in unregistered:
            return
        # Headers are read before the transaction: while it holds the study no image of it can be written.
        seen = self._see(study_id)
        with self.database.write() as session:
            opened = studies.close(session, study_id, seen, quiet_seconds=self.quiet_seconds, now=self.clock())
        if opened is not None:
            logger.info("study.closed", study=study_id, jobs=list(opened))

    def _see(self, study_id: int) -> SeenStudy:
        """Read one header of each series of a study, and return what it says with the routes that hold now."""
        with self.database.read() as session:
            instances = studies.instances_of(session, study_id)
            senders = studies.senders_of(session, study_id)
        return SeenStudy(self.routes.current(), stored_series(instances, self.objects, senders))
