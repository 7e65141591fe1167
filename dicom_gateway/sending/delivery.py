"""Bring the written objects to every destination.

Each destination has a thread of its own while something is due for it: a peer that hangs holds up neither the others
nor the writing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import PeerRejectedObject
from dicom_gateway.sending import sender
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.outcomes import SendOutcome
from dicom_gateway.sending.outgoing import Outgoing
from dicom_gateway.status import PeerAnswer, Status
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage import deliveries, destinations
from storage.database import Database
from storage.deliveries import Delivery
from storage.errors import OncueError
from storage.form_refusals import replan_refused_forms
from storage.objects import ObjectStore

_DESTINATIONS_AT_ONCE = 16

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """How deliveries are taken and sent: under whose name, from which AE title, how patiently, with which certificates.

    Without ``tls``, destinations with TLS are held against the system's authorities and shown no certificate.
    """

    owner: str
    calling_aet: str
    lease_seconds: float
    timeouts: PeerTimeouts
    clock: Callable[[], datetime]
    tls: DestinationTls | None = None


class Dispatcher:
    """Claims due deliveries and sends each destination's in a thread of its own.

    ``on_free`` is called, in that thread, when it is done and the destination may be chosen again.
    """

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        dispatch: Dispatch,
        *,
        on_free: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._objects = objects
        self._dispatch = dispatch
        self._on_free = on_free
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._closed = False

    def send_due(self) -> bool:
        """Hand the longest-waiting destination's deliveries to a thread; True where another one may be waiting."""
        with self._lock:
            busy = frozenset(self._busy)
        if self._closed or len(busy) >= _DESTINATIONS_AT_ONCE:
            return False
        with self._database.write() as session:
            batch = deliveries.claim_due(
                session,
                owner=self._dispatch.owner,
                lease_seconds=self._dispatch.lease_seconds,
                now=self._dispatch.clock(),
                busy=busy,
            )
        if not batch:
            return False
        with self._lock:
            self._busy.add(batch[0].destination)
        # A daemon: a peer that hangs must not keep this process from ending.
        threading.Thread(target=self._send_batch, args=(batch,), name="delivery-batch", daemon=True).start()
        return True

    def close(self) -> None:
        """Begin no more batches. One in progress is left behind: its lease runs out and it is sent again."""
        self._closed = True

    def _send_batch(self, batch: Sequence[Delivery]) -> None:
        try:
            self._send(batch)
        except OncueError as error:
            logger.warning("delivery.not_recorded", destination=batch[0].destination, code=error.code)
        except Exception:  # edge: the lease brings the batch back
            logger.exception("delivery.failed", destination=batch[0].destination, code="unexpected_error")
        finally:
            with self._lock:
                self._busy.discard(batch[0].destination)
            self._on_free()

    def _send(self, batch: Sequence[Delivery]) -> None:
        try:
            destination = self._peer(batch[0].destination)
        except OncueError as error:
            for delivery in batch:
                self._refused(delivery, status=None, code=error.code, reason=str(error))
            return
        ready = [delivery for delivery in batch if self._is_whole(delivery)]
        pending = iter(ready)
        sender.send(
            [_outgoing(delivery, self._objects) for delivery in ready],
            destination,
            calling_ae_title=self._dispatch.calling_aet,
            timeouts=self._dispatch.timeouts,
            tls=self._dispatch.tls,
            on_outcome=lambda outcome: self._record(next(pending), outcome),
        )

    def _peer(self, name: str) -> Destination:
        """Return the peer that a destination is: that of an entry, or of an address."""
        with self._database.read() as session:
            entry = next((one for one in destinations.entries(session) if one.name == name), None)
        return Destination.parse(name if entry is None else entry.address)

    def _is_whole(self, delivery: Delivery) -> bool:
        """See that the object is what was written; one that is not must not reach a peer."""
        try:
            self._objects.verify(delivery.written.digest)
        except OncueError as error:
            self._refused(delivery, status=None, code=error.code, reason=str(error))
            return False
        return True

    def _record(self, delivery: Delivery, outcome: SendOutcome) -> None:
        log = logger.bind(delivery=delivery.id, destination=delivery.destination, status=outcome.status)
        if outcome.verdict is PeerAnswer.STORED and outcome.status is not None:
            with self._database.write() as session:
                deliveries.sent(
                    session,
                    delivery.id,
                    owner=self._dispatch.owner,
                    status=outcome.status,
                    now=self._dispatch.clock(),
                )
            log.info("delivery.sent", note=outcome.reason) if outcome.reason else log.info("delivery.sent")
        elif outcome.verdict is PeerAnswer.TRANSIENT:
            with self._database.write() as session:
                deliveries.postponed(
                    session,
                    delivery.id,
                    owner=self._dispatch.owner,
                    status=outcome.status,
                    code=outcome.code,
                    reason=outcome.reason,
                    now=self._dispatch.clock(),
                )
            log.warning("delivery.postponed", code=outcome.code, reason=outcome.reason)
        else:
            code = outcome.code or PeerRejectedObject.code
            self._refused(delivery, status=outcome.status, code=code, reason=outcome.reason)
            if outcome.status in (None, Status.SOP_CLASS_NOT_SUPPORTED) and code == PeerRejectedObject.code:
                with self._database.write() as session:
                    replan_refused_forms(session, delivery.destination, [delivery], now=self._dispatch.clock())

    def _refused(self, delivery: Delivery, *, status: int | None, code: str, reason: str) -> None:
        with self._database.write() as session:
            deliveries.refused(
                session,
                delivery.id,
                owner=self._dispatch.owner,
                status=status,
                code=code,
                reason=reason,
                now=self._dispatch.clock(),
            )
        logger.error(
            "delivery.refused", delivery=delivery.id, destination=delivery.destination, code=code, reason=reason
        )


def _outgoing(delivery: Delivery, objects: ObjectStore) -> Outgoing:
    written = delivery.written
    return Outgoing(
        path=objects.path(written.digest),
        sop_class_uid=written.sop_class_uid,
        sop_instance_uid=written.sop_instance_uid,
        transfer_syntax_uid=written.transfer_syntax_uid,
    )
