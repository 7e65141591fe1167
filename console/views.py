"""What the pages and the API read, and the parametric map that they can ask for.

Each call opens its own session and closes it before it returns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from storage import (
    analyses,
    audit,
    deletions,
    delivery_lists,
    destinations,
    jobs,
    processes,
    reading,
    study_pages,
    study_record,
    worklist,
)
from storage.announcing import unopened_studies, urgent_studies
from storage.announcing.tables import OpenedThrough
from storage.database import Database, utc_now
from storage.delivery_lists import Delivery
from storage.domain import DeliveryState, JobState
from storage.errors import DatabaseUnavailable, ObjectMissing, RecordMissing
from storage.history import readings
from storage.history.readings import Reader
from storage.jobs import Job
from storage.objects import ObjectStore
from storage.study_pages import ANY_STUDY, COUNTED, CappedCount, StudyFilter, StudyList, capped
from storage.study_record import Dossier
from storage.worklist import StudyEntry

if TYPE_CHECKING:
    from dicom_gateway.maps import MapRequests

PAGE = 100
_NEEDED = ("gateway", "relay", "worker")


@dataclass(frozen=True, slots=True)
class AliveProcesses:
    """Whether a kind of process was at work lately, and how many of it."""

    kind: str
    alive: int


@dataclass(frozen=True, slots=True)
class SystemHealth:
    """Whether the database answers, and which processes were seen in it."""

    database: bool
    processes: tuple[AliveProcesses, ...]

    @property
    def is_complete(self) -> bool:
        """Whether everything that turns an image into a result is at work."""
        return self.database and all(seen.alive for seen in self.processes)


@dataclass(frozen=True, slots=True)
class Views:
    """The queries behind every page, on one database and one object store.

    ``destinations`` are those of the settings: there, and to entries, somebody may ask for a parametric map to be sent.
    ``worklist_hours`` is the age at which a study leaves the worklist; 0 is never.
    """

    database: Database
    objects: ObjectStore
    destinations: tuple[str, ...] = ()
    worklist_hours: float = 0

    def studies(
        self, *, limit: int = PAGE, after: str | None = None, wanted: StudyFilter = ANY_STUDY
    ) -> tuple[StudyEntry, ...]:
        """Return studies, the newest arrivals first."""
        return self.listed(StudyList.ALL, limit=limit, after=after, wanted=wanted)

    def worklist(
        self, *, limit: int = PAGE, after: str | None = None, wanted: StudyFilter = ANY_STUDY
    ) -> tuple[StudyEntry, ...]:
        """Return analysed studies in reading order, those that nobody has read yet and that have not left by age."""
        return self.listed(StudyList.WORKLIST, limit=limit, after=after, wanted=wanted)

    def waiting(self, *, limit: int = PAGE, after: str | None = None) -> tuple[StudyEntry, ...]:
        """Return the studies that have no result yet, the newest arrivals first."""
        return self.listed(StudyList.WAITING, limit=limit, after=after)

    def not_applicable(self, *, limit: int = PAGE, after: str | None = None) -> tuple[StudyEntry, ...]:
        """Return the studies that no route wants, the newest arrivals first."""
        return self.listed(StudyList.NOT_APPLICABLE, limit=limit, after=after)

    def listed(
        self, which: StudyList, *, limit: int = PAGE, after: str | None = None, wanted: StudyFilter = ANY_STUDY
    ) -> tuple[StudyEntry, ...]:
        """Return a page of a list of studies."""
        with self.database.read() as session:
            return worklist.listed(session, which, limit=limit, after=after, wanted=self._in_time(which, wanted))

    def count(self, which: StudyList, *, wanted: StudyFilter = ANY_STUDY) -> CappedCount:
        """Return how many studies a list has, counted to a thousand at most."""
        with self.database.read() as session:
            return study_pages.count(session, which, wanted=self._in_time(which, wanted))

    def mark_read(self, study_id: int, *, actor: str) -> StudyEntry:
        """Mark the results of a study as read; IllegalTransition where it has none."""
        with self.database.write() as session:
            reading.mark_read(session, study_id, actor=actor, now=utc_now())
            return worklist.find(session, study_id)

    def mark_unread(self, study_id: int, *, actor: str) -> StudyEntry:
        """Take that mark back."""
        with self.database.write() as session:
            reading.mark_unread(session, study_id, actor=actor, now=utc_now())
            return worklist.find(session, study_id)

    def dossier(self, study_id: int) -> Dossier:
        """Return everything on record of one study; RecordMissing where there is none."""
        with self.database.read() as session:
            return study_record.read(session, study_id)

    def jobs(self, *, limit: int = PAGE, after: str | None = None, state: JobState | None = None) -> tuple[Job, ...]:
        """Return jobs, newest first."""
        with self.database.read() as session:
            return worklist.listed_jobs(session, state=state, limit=limit, after=after)

    def count_jobs(self, state: JobState | None = None) -> CappedCount:
        """Return how many jobs there are, counted to a thousand at most."""
        with self.database.read() as session:
            return capped(jobs.count(session, state=state, cap=COUNTED + 1))

    def job(self, job_id: int) -> Job:
        """Return one job; RecordMissing where there is none."""
        with self.database.read() as session:
            return jobs.find(session, job_id)

    def deliveries(
        self, *, limit: int = PAGE, after: str | None = None, state: DeliveryState | None = None
    ) -> tuple[Delivery, ...]:
        """Return deliveries, newest first."""
        with self.database.read() as session:
            return delivery_lists.listed(session, state=state, limit=limit, after=after)

    def count_deliveries(self, state: DeliveryState | None = None) -> CappedCount:
        """Return how many deliveries there are, counted to a thousand at most."""
        with self.database.read() as session:
            return capped(delivery_lists.count(session, state=state, cap=COUNTED + 1))

    def read_study(self, study_id: int, *, actor: str) -> Dossier:
        """Return everything on record of one study to somebody, and put that on record first."""
        found = self.dossier(study_id)
        with self.database.write() as session:
            readings.study_read(session, study_id, Reader(actor, utc_now()))
        return found

    def show_study(self, study_id: int, *, actor: str) -> Dossier:
        """Return the same to a person who looks at its page: an urgent study counts as opened by them from now on."""
        with self.database.read() as session:
            seen = urgent_studies.unopened(session, study_id)
        found = self.read_study(study_id, actor=actor)
        if seen is None:
            return found
        with self.database.write() as session:
            urgent_studies.opened(session, study_id, by=actor, through=OpenedThrough.CONSOLE, now=utc_now(), seen=seen)
            return replace(found, urgent=unopened_studies.of_study(session, study_id))

    def picture(self, job_id: int, digest: str, *, actor: str) -> bytes:
        """Return a PNG picture to somebody, only where the job's own analysis names it; ObjectMissing otherwise.

        PicturesDeleted where retention deleted it.
        """
        with self.database.read() as session:
            if digest not in analyses.pictures_of(session, job_id):
                raise ObjectMissing("this job has no such picture")
            deletions.require_pictures(session, job_id)
        reader = Reader(actor, utc_now())
        with self.database.read() as session:
            on_record = readings.is_visiting(session, audit.study_of_job(session, job_id), reader)
        if not on_record:
            with self.database.write() as session:
                readings.picture_read(session, job_id, reader)
        return self.objects.get(digest)

    def parametric_map(self, study_id: int, *, actor: str) -> bytes:
        """Return the attention map of a study's newest result as a DICOM file, and put that on record."""
        return self._maps.fetch(self._newest_job(study_id), actor=actor)

    def send_parametric_map(self, study_id: int, destination: str, *, actor: str) -> Delivery:
        """Send that map to a configured destination; RecordMissing where it is none, or there is no map."""
        from dicom_gateway.maps import configured_destination

        job_id = self._newest_job(study_id)
        with self.database.read() as session:
            entries = destinations.entries(session)
        return self._maps.send(job_id, configured_destination(destination, self.destinations, entries), actor=actor)

    def health(self) -> SystemHealth:
        """Say whether the database answers and which processes were seen lately."""
        now = utc_now()
        try:
            with self.database.read() as session:
                running = processes.running(session)
        except DatabaseUnavailable:
            return SystemHealth(database=False, processes=())
        counts = {kind: sum(p.kind == kind and p.is_alive(now) for p in running) for kind in _NEEDED}
        return SystemHealth(
            database=True, processes=tuple(AliveProcesses(kind, alive) for kind, alive in counts.items())
        )

    def _in_time(self, which: StudyList, wanted: StudyFilter) -> StudyFilter:
        return wanted.in_time(self.worklist_hours, now=utc_now()) if which is StudyList.WORKLIST else wanted

    @property
    def _maps(self) -> MapRequests:
        # What writes DICOM takes a second to load: only who asks for a map waits for it.
        from dicom_gateway.maps import MapRequests
        from dicom_gateway.objects.equipment import Equipment

        return MapRequests(self.database, self.objects, Equipment(), utc_now)

    def _newest_job(self, study_id: int) -> int:
        result = self.dossier(study_id).result
        if result is None:
            raise RecordMissing(f"study {study_id} has no result yet")
        return result.job_id
