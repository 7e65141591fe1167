"""What happens to one received instance, and what its sender is told.

The order is the promise: request checked, file durable in the journal with a receipt of all that its row needs, and
only then 0x0000. The row follows from the journal, whatever dies in between. A crash before the file is durable leaves
an image that the sender still has, never one that it was told is safe.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import GatewayError, ObjectMismatch, UndecodableObject
from dicom_gateway.loops import Loop
from dicom_gateway.receiving.backlog import Acknowledged, Backlog, arrival
from dicom_gateway.receiving.buffers import Buffers
from dicom_gateway.receiving.elements import ElementWalks
from dicom_gateway.receiving.journal_slots import SlotPool
from dicom_gateway.receiving.ledger import Ledger
from dicom_gateway.receiving.recovery import Recovery
from dicom_gateway.receiving.repeat_bound import RepeatBound
from dicom_gateway.receiving.spool import Spool, SpoolPlace
from dicom_gateway.receiving.store_request import Identity, StoreRequest, identify
from dicom_gateway.status import Status, written
from storage import instance_events
from storage.arrivals import Origin
from storage.database import Database
from storage.errors import OncueError, StorageError
from storage.journals import Journal
from storage.objects import ObjectStore

_TAKE_OVER_SECONDS = 20.0
_STOP_SECONDS = 30.0

logger = structlog.get_logger(__name__)


class InstanceReceiver:
    """Takes instances into the journal, and has the ledger put them on record. Started before it is used."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        settings: GatewaySettings,
        *,
        process_id: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._objects = objects
        self._settings = settings
        self._process_id = process_id
        self._clock = clock
        backlog = Backlog(settings.maximum_unrecorded_images, settings.maximum_unrecorded_megabytes << 20)
        self._ledger = Ledger(database, objects, backlog, clock=clock)
        self._recovery = Loop("journals", Recovery(objects, self._ledger).take_over, seconds=_TAKE_OVER_SECONDS)
        self._walks = ElementWalks()
        self._refusals = RepeatBound()
        self._journal: Journal | None = None
        self._slots: SlotPool | None = None
        self._place: SpoolPlace | None = None

    def start(self) -> None:
        """Make a journal, begin to register, and take over what dead gateways left; StorageFull where that fails."""
        self._journal = Journal.create(self._objects, self._process_id)
        self._objects.prepare_names()
        self._slots = SlotPool(self._journal, self._objects)
        self._place = SpoolPlace(
            objects=self._objects,
            take_slot=self._slots.take,
            buffers=Buffers(),
            walks=self._walks,
            maximum_bytes=self._settings.maximum_instance_megabytes << 20,
        )
        self._slots.start()
        self._ledger.start()
        self._recovery.start()

    def stop(self) -> None:
        """Register what was received, as far as the database answers; the rest waits in the journal for a gateway."""
        self._recovery.stop()
        self._ledger.stop(_STOP_SECONDS)
        self._recovery.join()
        if self._slots is not None:
            self._slots.stop()
        if self._journal is not None:
            self._journal.close()

    @property
    def waiting(self) -> int:
        """How many images are acknowledged and wait for their rows."""
        return self._ledger.waiting

    def drain(self, seconds: float = _STOP_SECONDS) -> bool:
        """Wait until everything received is on record, and say whether it is; an outage of the database ends that."""
        return self._ledger.drain(seconds)

    def note(
        self, write: Callable[[Session], object], *, ahead: bool = False, then: Callable[[], None] | None = None
    ) -> bool:
        """Have something about an association written in its turn, ``ahead`` of the images that wait or behind them.

        ``then`` is called when it is committed. False where it is not taken, for too much waits for the database.
        """
        return self._ledger.note(write, ahead=ahead, then=then)

    def open_spool(self, request: StoreRequest) -> Spool:
        """Begin an instance."""
        if self._place is None:
            raise RuntimeError("the receiver is not started")
        return Spool(self._place, request)

    def take(self, data_set: Spool, origin: Origin, *, study_instance_uid: str | None = None) -> Identity:
        """Take one received data set in, and return where it belongs once it is durable; the spool is used up.

        ``study_instance_uid``: the study that it must belong to. OncueError where it is not taken; ``refuse`` puts that
        on record.
        """
        try:
            identity = identify(data_set.elements(), data_set.request)
            if study_instance_uid not in (None, identity.study_instance_uid):
                raise ObjectMismatch("the instance belongs to another study than the request names")
            self._ledger.require_room()
            kept = data_set.keep(identity.study_instance_uid, origin, received_at=self._clock())
            self._ledger.submit(Acknowledged(kept.path, arrival(data_set.request, identity, kept.receipt)))
        finally:
            data_set.discard()
        return identity

    def store(self, data_set: Spool | None, *, sop_instance_uid: str, origin: Origin) -> int:
        """Take one received data set in and return the DIMSE status of the answer."""
        if data_set is None:
            error = UndecodableObject("the C-STORE request has no data set")
            return self.refuse(error, sop_instance_uid=sop_instance_uid, calling_aet=origin.calling_aet)
        try:
            self.take(data_set, origin)
        except OncueError as error:
            return self.refuse(error, sop_instance_uid=sop_instance_uid, calling_aet=origin.calling_aet)
        except Exception:  # edge: a fault of ours must answer this sender and leave the others alone
            logger.exception("instance.failed", code="unexpected_error", calling_aet=origin.calling_aet)
            return int(Status.PROCESSING_FAILURE)
        return int(Status.SUCCESS)

    def refuse(self, error: OncueError, *, sop_instance_uid: str, calling_aet: str) -> int:
        """Log and record that an instance was not accepted, and return the status that says so."""
        status = status_of(error)
        left_out = self._refusals.add(calling_aet, error.code, now=self._clock())
        if left_out is None:
            return status
        logger.warning(
            "instance.refused",
            code=error.code,
            status=written(status),
            calling_aet=calling_aet,
            sop_instance_uid=sop_instance_uid,
            reason=str(error),
            left_out=left_out,
        )
        taken = self._ledger.note(
            lambda session: instance_events.record_refused(
                session,
                calling_aet=calling_aet,
                sop_instance_uid=sop_instance_uid,
                code=error.code,
                status=status,
                now=self._clock(),
            )
        )
        if not taken:
            # The sender is refused all the same; with the database down there is only the log to say so.
            logger.warning("instance.refusal_not_recorded", code="out_of_resources", calling_aet=calling_aet)
        return status


def status_of(error: OncueError) -> int:
    """Return the DIMSE status of a C-STORE that fails this way; what storage cannot do now may work later (0xA700)."""
    if isinstance(error, GatewayError):
        return int(error.status)
    return int(Status.OUT_OF_RESOURCES if isinstance(error, StorageError) else Status.PROCESSING_FAILURE)
