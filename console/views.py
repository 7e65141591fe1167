"""What the pages and the API read, and the parametric map that they can ask for.

Each call opens its own session and closes it before it returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage import analyses, audit, deliveries, jobs, processes, study_record, worklist
from storage.audit import AuditEvent
from storage.database import Database, utc_now
from storage.deliveries import Delivery
from storage.errors import DatabaseUnavailable, ObjectMissing, RecordMissing
from storage.jobs import Job
from storage.objects import ObjectStore
from storage.study_record import Dossier
from storage.worklist import StudyEntry

if TYPE_CHECKING:
    from dicom_gateway.maps import MapRequests

PAGE = 100
_ACTOR = "console"
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

    ``destinations`` are those of the settings: where somebody may ask for a parametric map to be sent.
    """

    database: Database
    objects: ObjectStore
    destinations: tuple[str, ...] = ()

    def studies(self, *, limit: int = PAGE) -> tuple[StudyEntry, ...]:
        """Return studies, the newest arrivals first."""
        with self.database.read() as session:
            return worklist.studies(session, limit=limit)

    def worklist(self, *, limit: int = PAGE) -> tuple[StudyEntry, ...]:
        """Return analysed studies in reading order."""
        with self.database.read() as session:
            return worklist.worklist(session, limit=limit)

    def waiting(self, *, limit: int = PAGE) -> tuple[StudyEntry, ...]:
        """Return the studies that have no result yet, the newest arrivals first."""
        with self.database.read() as session:
            return worklist.waiting(session, limit=limit)

    def not_applicable(self, *, limit: int = PAGE) -> tuple[StudyEntry, ...]:
        """Return the studies that no route wants, the newest arrivals first."""
        with self.database.read() as session:
            return worklist.not_applicable(session, limit=limit)

    def dossier(self, study_id: int) -> Dossier:
        """Return everything on record of one study; RecordMissing where there is none."""
        with self.database.read() as session:
            return study_record.read(session, study_id)

    def jobs(self, *, limit: int = PAGE) -> tuple[Job, ...]:
        """Return jobs, newest first."""
        with self.database.read() as session:
            return worklist.listed_jobs(session, limit=limit)

    def job(self, job_id: int) -> Job:
        """Return one job; RecordMissing where there is none."""
        with self.database.read() as session:
            return jobs.find(session, job_id)

    def deliveries(self, *, limit: int = PAGE) -> tuple[Delivery, ...]:
        """Return deliveries, newest first."""
        with self.database.read() as session:
            return deliveries.listed(session, limit=limit)

    def events(self, *, before: int | None = None, limit: int = PAGE) -> tuple[AuditEvent, ...]:
        """Return a page of audit events, newest first, those before ``before`` where it is given."""
        with self.database.read() as session:
            return audit.latest(session, limit=limit, before=before)

    def event_count(self) -> int:
        """Return how many audit events there are."""
        with self.database.read() as session:
            return audit.count(session)

    def picture(self, job_id: int, digest: str) -> bytes:
        """Return a PNG picture, only where the job's own analysis names it; ObjectMissing otherwise."""
        with self.database.read() as session:
            named = analyses.pictures_of(session, job_id)
        if digest not in named:
            raise ObjectMissing("this job has no such picture")
        return self.objects.get(digest)

    def parametric_map(self, study_id: int) -> bytes:
        """Return the attention map of a study's newest result as a DICOM file, and put that on record."""
        return self._maps.fetch(self._newest_job(study_id), actor=_ACTOR)

    def send_parametric_map(self, study_id: int, destination: str) -> Delivery:
        """Send that map to a configured destination; RecordMissing where it is none, or there is no map."""
        from dicom_gateway.maps import configured_destination

        job_id = self._newest_job(study_id)
        return self._maps.send(job_id, configured_destination(destination, self.destinations), actor=_ACTOR)

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
