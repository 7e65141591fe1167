"""Objects that are written only when somebody asks for them: a job's attention or saliency as a Parametric Map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dicom_gateway.destinations import Destination
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.writing import write_parametric_map, write_saliency_map
from storage import analyses, deletions, jobs, reports
from storage.database import Database
from storage.deliveries import Delivery, WrittenObject
from storage.errors import RecordMissing
from storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class MapRequests:
    """Writes parametric maps on request and sends them through the deliveries that every result takes.

    The map is where the segmenter looked, or with ``saliency`` where the classifier did.
    """

    database: Database
    objects: ObjectStore
    equipment: Equipment
    clock: Callable[[], datetime]
    saliency: bool = False

    def fetch(self, job_id: int, *, actor: str) -> bytes:
        """Return the map of a job as a Part 10 file; RecordMissing where the job kept no such map."""
        written = self._write(job_id)
        with self.database.write() as session:
            reports.requested(session, job_id, written, destination=None, actor=actor, now=self.clock())
        return self.objects.get(written.digest)

    def send(self, job_id: int, destination: str, *, actor: str) -> Delivery:
        """Put the map of a job on its way to ``AET@HOST:PORT``, once more where it was sent there before."""
        peer = str(Destination.parse(destination))
        written = self._write(job_id)
        with self.database.write() as session:
            (delivery,) = reports.requested(session, job_id, written, destination=peer, actor=actor, now=self.clock())
        return delivery

    def _write(self, job_id: int) -> WrittenObject:
        with self.database.read() as session:
            analysis = analyses.load(session, job_id, self.objects)
            deletions.require_sources(session, job_id)
            moment = reports.moment_of(session, job_id)
            study_instance_uid = jobs.find(session, job_id).study_instance_uid
            replaced = reports.replaced_report(session, job_id)
        predecessor = PredecessorDocument.of(study_instance_uid, replaced)
        write = write_saliency_map if self.saliency else write_parametric_map
        written = write(analysis, self.objects, written_at=moment, equipment=self.equipment, predecessor=predecessor)
        with self.database.read() as session:
            # The same UID must always name the same bytes: an analysis repeated later carries another time.
            return reports.known_object(session, written.sop_instance_uid) or written


def configured_destination(peer: str, destinations: tuple[str, ...]) -> str:
    """Return the one configured destination that an AE title or a full address names; RecordMissing otherwise."""
    named = [each for each in destinations if peer in (each, Destination.parse(each).ae_title)]
    if len(named) != 1:
        known = ", ".join(destinations) or "none"
        raise RecordMissing(f"{peer!r} names {len(named)} of the configured destinations: {known}")
    return named[0]
