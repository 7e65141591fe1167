"""A way in for DICOM files: the same journal, ledger and receipts as C-STORE, in whichever process there is one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog

from dicom_gateway.config import GatewaySettings
from dicom_gateway.inlets.part10 import Readable, read_head
from dicom_gateway.loops import Loop
from dicom_gateway.privacy import keep_identifiers_out_of_logs
from dicom_gateway.receiving.admission import Caller
from dicom_gateway.receiving.association import HowEnded
from dicom_gateway.receiving.association_records import AssociationRecords
from dicom_gateway.receiving.receive import InstanceReceiver
from dicom_gateway.receiving.spool import Spool
from dicom_gateway.receiving.store_request import StoreRequest
from storage import processes
from storage.arrivals import Origin
from storage.database import Database
from storage.domain import Lane
from storage.errors import OncueError, StorageError
from storage.objects import ObjectStore

_PIECE_BYTES = 256 << 10
_UNKNOWN_UID = "unknown"
KIND = "inlet"

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whom images are from, as records have it: AE titles of up to 16 characters, a place, and their lane."""

    calling_aet: str
    called_aet: str
    address: str
    lane: Lane = Lane.ROUTINE


@dataclass(frozen=True, slots=True)
class Taken:
    """An image that is durable: it is in the journal, and nobody needs to send it again."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


class Inlet:
    """Takes DICOM files in. Threads share it; its process counts as alive by the inlet's own heartbeat.

    It is started by its first visit: one that nobody uses has no journal, no thread and no row. ``process_id`` is the
    inlet's alone. ``on_visit_end`` is called when the end of a visit is on record.
    """

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        settings: GatewaySettings,
        *,
        process_id: str,
        clock: Callable[[], datetime],
        on_visit_end: Callable[[], None] = lambda: None,
    ) -> None:
        keep_identifiers_out_of_logs()
        self._database = database
        self._objects = objects
        self._process_id = process_id
        self._clock = clock
        self._receiver = InstanceReceiver(database, objects, settings, process_id=process_id, clock=clock)
        self._records = AssociationRecords(self._receiver.note, process_id, clock, on_closed=on_visit_end)
        self._heartbeat = Loop("inlet", self._beat, seconds=processes.BEAT_SECONDS)
        self._starting = threading.Lock()
        self._is_started = False

    def start(self) -> None:
        """Make a journal and put the process on record, once; StorageError where one of them cannot be done."""
        with self._starting:
            if self._is_started:
                return
            self._objects.prepare()
            with self._database.write() as session:
                processes.start(session, self._process_id, KIND, now=self._clock())
            try:
                self._receiver.start()
            except StorageError:
                self._record_end()
                raise
            self._heartbeat.start()
            self._is_started = True

    def stop(self) -> None:
        """Put what was taken on record, as far as the database answers, and end; a gateway sees to the rest."""
        if not self._is_started:
            return
        self._receiver.stop()
        self._heartbeat.stop()
        self._heartbeat.join()
        self._record_end()

    def drain(self, seconds: float) -> bool:
        """Wait until every image that was taken is on record, and say whether it is."""
        return not self._is_started or self._receiver.drain(seconds)

    @contextmanager
    def visit(self, visitor: Visitor) -> Iterator[Visit]:
        """Take in what somebody brings at once; on record as an association, from its first image to its end.

        StorageError where the inlet cannot be started.
        """
        self.start()
        visit = Visit(self._receiver, self._records, visitor)
        try:
            yield visit
        except BaseException:
            visit.close(HowEnded.ABORTED)
            raise
        visit.close(HowEnded.RELEASED)

    def _beat(self) -> None:
        with self._database.write() as session:
            processes.beat(session, self._process_id, now=self._clock())

    def _record_end(self) -> None:
        try:
            with self._database.write() as session:
                processes.stop(session, self._process_id, now=self._clock())
        except StorageError as error:
            logger.warning("inlet.end_not_recorded", code=error.code)


class Visit:
    """What one visitor brings at once. One thread uses it; its studies are held open while it lasts."""

    def __init__(self, receiver: InstanceReceiver, records: AssociationRecords, visitor: Visitor) -> None:
        self._receiver = receiver
        self._records = records
        self._visitor = visitor
        self._association_id: str | None = None

    def take(
        self,
        stream: Readable,
        *,
        study_instance_uid: str | None = None,
        on_head: Callable[[StoreRequest], None] = lambda _: None,
    ) -> Taken:
        """Take one DICOM file (PS3.10) from where a stream stands to its end, and return when it is durable.

        It goes to disk as it is read, and its preamble is dropped. ``study_instance_uid``: it must belong to this
        study; ``on_head`` is told what the file says of itself before it is read on. GatewayError or StorageError, with
        its code and ``retryable``, where it is not taken, which is on record then; OSError where the stream cannot be
        read.
        """
        origin = self._origin()
        uid = _UNKNOWN_UID
        try:
            head = read_head(stream)
            uid = head.request.sop_instance_uid
            on_head(head.request)
            spool = self._receiver.open_spool(head.request)
            try:
                _fill(spool, head.begun, stream)
                identity = self._receiver.take(spool, origin, study_instance_uid=study_instance_uid)
            finally:
                spool.discard()
        except OncueError as error:
            self._receiver.refuse(error, sop_instance_uid=uid, calling_aet=origin.calling_aet)
            raise
        return Taken(head.request.sop_class_uid, uid, identity.study_instance_uid, identity.series_instance_uid)

    def close(self, how: HowEnded) -> None:
        """Put the end on record; done by whoever opened the visit."""
        if self._association_id is not None:
            self._records.closed(self._association_id, how)

    def _origin(self) -> Origin:
        visitor = self._visitor
        if self._association_id is None:
            caller = Caller(visitor.calling_aet, visitor.called_aet, visitor.address)
            self._association_id = self._records.opened(caller)
        return Origin(visitor.calling_aet, self._association_id, visitor.lane)


def _fill(spool: Spool, begun: bytes, stream: Readable) -> None:
    """Write a data set into the spool, as far as it takes it."""
    piece = begun
    while piece and spool.failure is None:
        spool.write(piece)
        piece = stream.read(_PIECE_BYTES)
