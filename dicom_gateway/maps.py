"""Objects that are written only when somebody asks for them: a job's attention or saliency as a Parametric Map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dicom_gateway.destinations import Destination, parse_address
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.writing import write_parametric_map, write_saliency_map
from storage import analyses, deletions, destinations, job_lists, reports
from storage.database import Database
from storage.delivery_lists import Delivery
from storage.destinations import DestinationEntry
from storage.errors import RecordMissing
from storage.objects import ObjectStore
from storage.written_objects import WrittenObject


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
        """Put the map of a job on its way, once more where it was sent there before.

        ``destination`` is the name of an entry, ``AET@HOST:PORT`` or the URL of a DICOMweb service.
        """
        with self.database.read() as session:
            names = {entry.name for entry in destinations.entries(session)}
        peer = destination if destination in names else str(parse_address(destination))
        written = self._write(job_id)
        with self.database.write() as session:
            if peer in names and not destinations.hold(session, [peer]):
                raise RecordMissing(f"there is no destination {peer} any more")
            (delivery,) = reports.requested(session, job_id, written, destination=peer, actor=actor, now=self.clock())
        return delivery

    def _write(self, job_id: int) -> WrittenObject:
        with self.database.read() as session:
            analysis = analyses.load(session, job_id, self.objects)
            deletions.require_sources(session, job_id)
            moment = reports.moment_of(session, job_id)
            study_instance_uid = job_lists.find(session, job_id).study_instance_uid
            replaced = reports.replaced_report(session, job_id)
        predecessor = PredecessorDocument.of(study_instance_uid, replaced)
        write = write_saliency_map if self.saliency else write_parametric_map
        written = write(analysis, self.objects, written_at=moment, equipment=self.equipment, predecessor=predecessor)
        with self.database.read() as session:
            # The same UID must always name the same bytes: an analysis repeated later carries another time.
            return reports.known_object(session, written.sop_instance_uid) or written


def configured_destination(peer: str, addresses: Sequence[str], entries: Sequence[DestinationEntry] = ()) -> str:
    """Return the one destination that a name, an AE title or a full address names; RecordMissing otherwise.

    ``addresses`` are those of the settings. An entry is returned by its name, an address of the settings as it stands.
    """
    held = {entry.address for entry in entries}
    known = {**{text: text for text in addresses if text not in held}, **{one.name: one.address for one in entries}}
    if peer in known:
        return peer
    named = [name for name, address in known.items() if peer in (address, _title(address))]
    if len(named) != 1:
        raise RecordMissing(f"{peer!r} names {len(named)} of the configured destinations: {', '.join(known) or 'none'}")
    return named[0]


def _title(address: str) -> str | None:
    parsed = parse_address(address)
    return parsed.ae_title if isinstance(parsed, Destination) else None
