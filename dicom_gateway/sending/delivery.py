"""Bring the written objects to every destination.

Each batch has a thread of its own: a peer that hangs holds up neither the others nor the writing. A destination has as
many at once as it allows, over all processes.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from dicom_gateway.receivers import Receiver, addressed
from dicom_gateway.sending.batch_threads import BatchThreads
from dicom_gateway.sending.delivery_batch import Caller, DeliveryBatch
from dicom_gateway.sending.delivery_records import DeliveryRecords
from dicom_gateway.sending.limits import Pace
from storage import circuits, delivery_claims, due_deliveries
from storage.backoff import Draw
from storage.database import Database
from storage.delivery_claims import ClaimTerms
from storage.delivery_lists import Delivery
from storage.due_deliveries import Waiting
from storage.errors import ConfigurationError, OncueError
from storage.objects import ObjectStore

_BATCHES_AT_ONCE = 32
_LARGEST_BATCH = 50
_WORTH_AN_ASSOCIATION = 8
"""Another association is opened beside one that is open where so many objects wait for it."""
_RENEWALS_PER_LEASE = 3

logger = structlog.get_logger(__name__)

ReceiversNow = Callable[[Session], Mapping[str, Receiver]]
"""Reads whom deliveries may go to, as they stand, by name."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """How deliveries are taken: under whose name, for how long, by which clock; ``draw`` makes no two pauses alike.

    A lease of ``lease_seconds`` is renewed while its batch goes on.
    """

    owner: str
    lease_seconds: float
    clock: Callable[[], datetime]
    draw: Draw


class Dispatcher:
    """Claims what is due and sends each batch in a thread of its own.

    ``on_free`` is called, in that thread, when it is done and its destination may be chosen again. A name that
    ``receivers`` does not know may be an address, of what was sent there on request.
    """

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        dispatch: Dispatch,
        caller: Caller,
        receivers: ReceiversNow,
        *,
        on_free: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._objects = objects
        self._dispatch = dispatch
        self._caller = caller
        self._receivers = receivers
        self._on_free = on_free
        self._numbers = itertools.count(1)
        self._threads = BatchThreads("delivery-batch")
        self._under_way: set[DeliveryBatch] = set()
        self._paces: dict[str, tuple[int | None, Pace]] = {}
        self._lock = threading.Lock()
        self._one_ended = threading.Condition(self._lock)
        self._renewed_at = time.monotonic()
        self._closed = False

    def send_due(self) -> float | None:
        """Begin the batches that are due, the most urgent first.

        Returns in how many seconds there is something to do again that nobody tells of, None where there is nothing.
        """
        if self._closed:
            return None
        self._renew_leases()
        with self._database.read() as session:
            now = self._dispatch.clock()
            known = self._receivers(session)
            waiting = [
                one for one in delivery_claims.waiting(session, now=now) if not _is_paused(known, one.destination)
            ]
            shut = circuits.shut_off(session, now=now)
        for one in waiting:
            self._begin_batches(one, known)
        moments = [one.next_at for one in waiting if one.next_at is not None] + list(shut.values())
        pauses = [max((moment - now).total_seconds(), 0.0) for moment in moments]
        if self._under_way:
            pauses.append(self._dispatch.lease_seconds / _RENEWALS_PER_LEASE)
        return min(pauses, default=None)

    def close(self) -> None:
        """Begin no more batches; those under way end after the object that they are at, and give the rest back."""
        with self._lock:
            self._closed = True
            self._threads.close()

    def join(self, seconds: float) -> None:
        """Wait for batches under way. What a peer that hangs does not let go of comes back when its lease runs out."""
        with self._one_ended:
            self._one_ended.wait_for(lambda: not self._under_way, seconds)

    def _begin_batches(self, waiting: Waiting, known: Mapping[str, Receiver]) -> None:
        if not waiting.due:
            return
        try:
            receiver = known.get(waiting.destination) or addressed(waiting.destination)
        except ConfigurationError as error:
            self._refuse(waiting.destination, error)
            return
        for count in _shares(waiting.due, self._open_to(receiver.name), receiver.associations):
            if len(self._under_way) < _BATCHES_AT_ONCE:
                self._begin(receiver, count)

    def _begin(self, receiver: Receiver, count: int) -> None:
        """Have a thread claim a batch and send it."""
        terms = self._terms(count, receiver.associations)
        may_go_on = functools.partial(self._may_go_on, receiver.name)
        batch = DeliveryBatch(receiver, self._records(receiver.name, terms), may_go_on=may_go_on)
        with self._lock:
            if not self._closed:
                self._under_way.add(batch)
                self._threads.run(functools.partial(self._send, batch, terms))

    def _refuse(self, destination: str, error: ConfigurationError) -> None:
        """Refuse what is due for a destination that is neither known nor an address."""
        terms = self._terms(_LARGEST_BATCH, 1)
        records = self._records(destination, terms)
        for delivery in self._claim(destination, terms):
            records.refused(delivery, status=None, code=error.code, reason=str(error))

    def _send(self, batch: DeliveryBatch, terms: ClaimTerms) -> None:
        claimed: tuple[Delivery, ...] = ()
        try:
            claimed = self._claim(batch.receiver.name, terms)
            batch.send(claimed, self._caller, self._objects, self._pace(batch.receiver))
        except OncueError as error:
            logger.warning("delivery.not_recorded", destination=batch.receiver.name, code=error.code)
        except Exception:  # edge: the lease brings the batch back
            logger.exception("delivery.failed", destination=batch.receiver.name, code="unexpected_error")
        finally:
            with self._one_ended:
                self._under_way.remove(batch)
                self._one_ended.notify_all()
            if claimed:  # or others were faster, and looking again at once would find the same
                self._on_free()

    def _terms(self, count: int, associations: int) -> ClaimTerms:
        owner = f"{self._dispatch.owner}/{next(self._numbers)}"
        return ClaimTerms(owner, self._dispatch.lease_seconds, count, associations)

    def _claim(self, destination: str, terms: ClaimTerms) -> tuple[Delivery, ...]:
        with self._database.write() as session:
            return delivery_claims.claim(session, destination, terms, now=self._dispatch.clock())

    def _records(self, destination: str, terms: ClaimTerms) -> DeliveryRecords:
        return DeliveryRecords(self._database, terms.owner, destination, self._dispatch.clock, self._dispatch.draw)

    def _may_go_on(self, destination: str, rank: int) -> bool:
        """Say whether a batch whose next object has this rank may go on: no pause, and nothing more urgent waits."""
        if self._closed:
            return False
        with self._database.read() as session:
            if _is_paused(self._receivers(session), destination):
                return False
            return not due_deliveries.more_urgent(session, destination, rank, now=self._dispatch.clock())

    def _renew_leases(self) -> None:
        pause = self._dispatch.lease_seconds / _RENEWALS_PER_LEASE
        batches = self._batches()
        if not batches or time.monotonic() - self._renewed_at < pause / 2:
            return
        for batch in batches:
            with self._database.write() as session:
                now, seconds = self._dispatch.clock(), self._dispatch.lease_seconds
                delivery_claims.renew(session, batch.held, owner=batch.owner, lease_seconds=seconds, now=now)
        self._renewed_at = time.monotonic()

    def _batches(self) -> tuple[DeliveryBatch, ...]:
        with self._lock:
            return tuple(self._under_way)

    def _open_to(self, name: str) -> int:
        return sum(batch.receiver.name == name for batch in self._batches())

    def _pace(self, receiver: Receiver) -> Pace:
        """Return the pace that all batches to a receiver share; a new one where its limit was changed."""
        with self._lock:
            limit, pace = self._paces.get(receiver.name, (None, None))
            if pace is None or limit != receiver.kilobytes_per_second:
                pace = Pace(receiver.kilobytes_per_second)
                self._paces[receiver.name] = (receiver.kilobytes_per_second, pace)
            return pace


def _is_paused(known: Mapping[str, Receiver], name: str) -> bool:
    return name in known and known[name].paused


def _shares(due: int, under_way: int, associations: int) -> Iterator[int]:
    """Yield how many objects each new association is for: further ones are opened only where enough waits."""
    free = associations - under_way
    if free <= 0 or (under_way and due < _WORTH_AN_ASSOCIATION):
        return
    count = min(free, max(1, due // _WORTH_AN_ASSOCIATION))
    for _ in range(count):
        yield min(_LARGEST_BATCH, max(_WORTH_AN_ASSOCIATION, -(-due // count)))
