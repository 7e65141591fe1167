"""One batch on its way to one receiver: what each object came to, and what that says of the receiver."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dicom_gateway.destinations import Destination
from dicom_gateway.receivers import Receiver
from dicom_gateway.sending import dicomweb, sender
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.delivery_records import DeliveryRecords
from dicom_gateway.sending.limits import Pace, SendLimits
from dicom_gateway.sending.outcomes import Report, SendOutcome
from dicom_gateway.sending.outgoing import Outgoing
from dicom_gateway.status import PeerAnswer
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.circuits import CircuitState, Signal
from storage.delivery_lists import Delivery
from storage.errors import OncueError
from storage.objects import ObjectStore

_LOOK_SECONDS = 0.25
"""How often a batch looks whether it may go on: a batch that is quicker than that need not."""


@dataclass(frozen=True, slots=True)
class Caller:
    """How receivers are called: from which AE title, how patiently, with which certificates."""

    calling_aet: str
    timeouts: PeerTimeouts
    tls: DestinationTls | None = None

    def send(self, objects: Sequence[Outgoing], receiver: Receiver, pace: Pace, on_outcome: Report) -> None:
        """Send objects to a receiver in order, by C-STORE or STOW-RS as its address says.

        ``on_outcome`` is called after each, and may raise to end it.
        """
        limits = _limits(receiver)
        if isinstance(receiver.address, Destination):
            sender.send(
                objects,
                receiver.address,
                calling_ae_title=self.calling_aet,
                timeouts=self.timeouts,
                tls=self.tls,
                limits=limits,
                pace=pace,
                on_outcome=on_outcome,
            )
            return
        dicomweb.store(
            objects,
            receiver.address,
            credentials=receiver.credentials,
            tls=self.tls,
            timeouts=self.timeouts,
            limits=limits,
            pace=pace,
            on_outcome=on_outcome,
        )


class DeliveryBatch:
    """Deliveries to one receiver, held by one owner from when they are claimed until they are settled.

    ``may_go_on`` is asked between two objects with the rank of the next one; what is left when it says no goes back.
    """

    def __init__(
        self,
        receiver: Receiver,
        records: DeliveryRecords,
        *,
        may_go_on: Callable[[int], bool],
    ) -> None:
        self.receiver = receiver
        self._records = records
        self._may_go_on = may_go_on
        self._left: dict[int, Delivery] = {}
        self._failed: list[tuple[Delivery, SendOutcome]] = []
        self._has_served = False
        self._looked_at = time.monotonic()

    @property
    def owner(self) -> str:
        """Who holds its deliveries."""
        return self._records.owner

    @property
    def held(self) -> tuple[int, ...]:
        """The deliveries that nothing is on record of yet. Any thread may ask."""
        return (*tuple(self._left), *(delivery.id for delivery, _ in tuple(self._failed)))

    def send(self, claimed: Sequence[Delivery], caller: Caller, objects: ObjectStore, pace: Pace) -> None:
        """Send what is whole of it, and put on record what became of each object. OncueError where that fails."""
        self._left.update({delivery.id: delivery for delivery in claimed})
        ready = list(self._whole(objects))
        if not ready:
            return
        pending = iter(ready)
        outgoing = [_outgoing(delivery, objects) for delivery in ready]
        with contextlib.suppress(_BatchEnded):
            caller.send(outgoing, self.receiver, pace, lambda outcome: self._take(next(pending), outcome))
        self._settle_failed()
        self._records.handed_back(tuple(self._left))
        self._left.clear()

    def _whole(self, objects: ObjectStore) -> Iterator[Delivery]:
        """Yield what is as it was written; an object that is not must not reach a peer."""
        for delivery in tuple(self._left.values()):
            try:
                objects.verify(delivery.written.digest)
            except OncueError as error:
                self._records.refused(delivery, status=None, code=error.code, reason=str(error))
                del self._left[delivery.id]
            else:
                yield delivery

    def _take(self, delivery: Delivery, outcome: SendOutcome) -> None:
        """Put on record what is settled; what failed waits for the end of the batch, which says why."""
        if not outcome.was_offered or outcome.verdict is PeerAnswer.TRANSIENT:
            self._failed.append((delivery, outcome))
            del self._left[delivery.id]
        else:
            self._settle(delivery, outcome)
        if self._left and self._is_time_to_look() and not self._may_go_on(next(iter(self._left.values())).rank):
            raise _BatchEnded

    def _settle(self, delivery: Delivery, outcome: SendOutcome) -> None:
        if outcome.verdict is PeerAnswer.STORED:
            self._records.stored(delivery, outcome)
        else:
            self._records.declined(delivery, outcome)
        del self._left[delivery.id]
        if not self._has_served:
            self._has_served = True
            self._records.served()

    def _is_time_to_look(self) -> bool:
        if time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return False
        self._looked_at = time.monotonic()
        return True

    def _settle_failed(self) -> None:
        """Put on record what failed: over the objects, or over a receiver that is in trouble."""
        signal = self._signal()
        before = CircuitState.CLOSED if signal is None else self._records.failed(signal, self._failed[-1][1])
        unreached = [delivery.id for delivery, outcome in self._failed if not outcome.was_offered]
        unserved = [delivery.id for delivery, outcome in self._failed if outcome.was_offered]
        if before is CircuitState.CLOSED:
            for delivery, outcome in self._failed:
                self._records.settled(delivery, outcome)
        else:
            self._records.handed_back(unreached)
            self._records.put_off(unserved)
        self._failed.clear()

    def _signal(self) -> Signal | None:
        """Return what the batch showed of its receiver; None where it is as it should be."""
        if any(not outcome.was_offered for _, outcome in self._failed):
            return Signal.UNREACHABLE
        return Signal.UNSERVED if self._failed and not self._has_served else None


class _BatchEnded(Exception):
    """The batch may not go on: raised within the sender, which releases the association then."""


def _outgoing(delivery: Delivery, objects: ObjectStore) -> Outgoing:
    written = delivery.written
    return Outgoing(
        path=objects.path(written.digest),
        sop_class_uid=written.sop_class_uid,
        sop_instance_uid=written.sop_instance_uid,
        transfer_syntax_uid=written.transfer_syntax_uid,
    )


def _limits(receiver: Receiver) -> SendLimits:
    return SendLimits(receiver.objects_per_association, receiver.kilobytes_per_second, receiver.transfer_syntaxes)
