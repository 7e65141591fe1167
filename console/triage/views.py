"""What the page and the API of urgent studies read, and what they put on record; each call has its own session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.announcing import unopened_studies, urgent_studies, waiting_times
from storage.announcing.tables import OpenedThrough
from storage.announcing.unopened_studies import UrgentStudy, Waiting
from storage.announcing.waiting_times import TimesAsked, TimesReport
from storage.database import Database, utc_now
from storage.domain import Priority
from storage.errors import RecordMissing
from storage.models import StudyRow


@dataclass(frozen=True, slots=True)
class UrgentViews:
    """The queries about urgent studies on one database."""

    database: Database

    def pending(self, *, priority: Priority | None = None, limit: int = 500) -> Sequence[UrgentStudy]:
        """Return the urgent studies that nobody has opened, STAT first, then by how long they wait."""
        with self.database.read() as session:
            return unopened_studies.pending(session, priority=priority, limit=limit)

    def waiting(self, *, priority: Priority | None = None) -> Waiting:
        """Count them, and say since when the first one waits."""
        with self.database.read() as session:
            return unopened_studies.waiting(session, priority=priority)

    def times(self, asked: TimesAsked) -> TimesReport:
        """Return how long urgent studies took."""
        with self.database.read() as session:
            return waiting_times.report(session, asked)

    def opened(self, study_id: int, *, by: str, through: OpenedThrough) -> Sequence[UrgentStudy]:
        """Record that a person opened a study; RecordMissing where there is none.

        Return every time that it became urgent, the one that stands first.
        """
        with self.database.write() as session:
            if session.get(StudyRow, study_id) is None:
                raise RecordMissing(f"there is no study {study_id}; see `oncue studies list`")
            urgent_studies.opened(session, study_id, by=by, through=through, now=utc_now())
            return unopened_studies.of_study(session, study_id)
