"""What becomes of a batch, put on record: each delivery, and the circuit of its destination."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import structlog

from dicom_gateway.errors import PeerRejectedObject
from dicom_gateway.sending.outcomes import SendOutcome
from dicom_gateway.status import PeerAnswer
from storage import circuits, deliveries, delivery_claims, form_refusals
from storage.backoff import Draw
from storage.circuits import CircuitState, Fault, Signal
from storage.database import Database
from storage.delivery_lists import Delivery

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryRecords:
    """Records what becomes of the deliveries of one batch, which ``owner`` holds."""

    database: Database
    owner: str
    destination: str
    clock: Callable[[], datetime]
    draw: Draw

    def stored(self, delivery: Delivery, outcome: SendOutcome) -> None:
        """Record that the peer stored an object, with the remark that its status is."""
        status, note = outcome.status or 0, outcome.reason or None
        with self.database.write() as session:
            now = self.clock()
            deliveries.sent(session, delivery.id, owner=self.owner, status=status, note=note, now=now)
        log = logger.bind(delivery=delivery.id, destination=self.destination, status=outcome.status)
        log.info("delivery.sent", note=note) if note else log.info("delivery.sent")

    def refused(self, delivery: Delivery, *, status: int | None, code: str, reason: str) -> None:
        """Record that an object will not be taken, whoever says so."""
        code = code or PeerRejectedObject.code
        with self.database.write() as session:
            now = self.clock()
            deliveries.refused(session, delivery.id, owner=self.owner, status=status, code=code, reason=reason, now=now)
        self._log_refusal(delivery, code, reason)

    def declined(self, delivery: Delivery, outcome: SendOutcome) -> None:
        """Record that the peer will not take an object that it was offered; over its form, others are chosen."""
        code, reason = outcome.code or PeerRejectedObject.code, outcome.reason
        if not outcome.is_over_the_form:
            self.refused(delivery, status=outcome.status, code=code, reason=reason)
            return
        with self.database.write() as session:
            now = self.clock()
            form_refusals.refused_form(
                session, delivery, owner=self.owner, status=outcome.status, code=code, reason=reason, now=now
            )
        self._log_refusal(delivery, code, reason)

    def postponed(self, delivery: Delivery, outcome: SendOutcome) -> None:
        """Record that an object is to be tried again."""
        with self.database.write() as session:
            deliveries.postponed(
                session,
                delivery.id,
                owner=self.owner,
                status=outcome.status,
                code=outcome.code,
                reason=outcome.reason,
                now=self.clock(),
                draw=None if not outcome.was_offered else self.draw,
            )
        if outcome.was_offered:  # the line about the circuit tells of all of those
            logger.warning(
                "delivery.postponed",
                delivery=delivery.id,
                destination=self.destination,
                status=outcome.status,
                code=outcome.code,
                reason=outcome.reason,
            )

    def handed_back(self, ids: Collection[int]) -> None:
        """Let go of what was not offered to the peer."""
        if ids:
            with self.database.write() as session:
                delivery_claims.hand_back(session, ids, owner=self.owner)

    def put_off(self, ids: Collection[int]) -> None:
        """Let go of what a destination, known to be in trouble, did not settle."""
        with self.database.write() as session:
            delivery_claims.put_off(session, ids, owner=self.owner, now=self.clock(), draw=self.draw)

    def served(self) -> None:
        """Record that the destination answers."""
        with self.database.write() as session:
            closed = circuits.served(session, self.destination, now=self.clock())
        if closed:
            logger.info("circuit.closed", destination=self.destination)

    def failed(self, signal: Signal, outcome: SendOutcome) -> CircuitState:
        """Record that a batch failed over its destination; return the state that it had found the circuit in."""
        fault = Fault(outcome.code, outcome.reason)
        with self.database.write() as session:
            before = circuits.failed(session, self.destination, signal, fault, draw=self.draw, now=self.clock())
            after = circuits.state_of(session, self.destination, now=self.clock())
        if before is CircuitState.CLOSED and after is CircuitState.OPEN:
            logger.warning("circuit.opened", destination=self.destination, code=fault.code, reason=fault.reason)
        return before

    def settled(self, delivery: Delivery, outcome: SendOutcome) -> None:
        """Record a failed attempt by what the outcome says: to be tried again, or refused."""
        if outcome.verdict is PeerAnswer.TRANSIENT:
            self.postponed(delivery, outcome)
        else:
            # Nothing was offered: a peer that rejects the association says nothing of what it would take.
            self.refused(delivery, status=outcome.status, code=outcome.code, reason=outcome.reason)

    def _log_refusal(self, delivery: Delivery, code: str, reason: str) -> None:
        logger.error("delivery.refused", delivery=delivery.id, destination=self.destination, code=code, reason=reason)
