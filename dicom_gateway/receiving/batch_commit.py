"""Rows of received instances, committed together where several associations wait: one disk flush serves them all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from storage import studies
from storage.database import Database
from storage.domain import StoredInstance
from storage.errors import StorageError
from storage.studies import Origin, Registration, StudyFacts


@dataclass(frozen=True, slots=True)
class Received:
    """An instance whose file is durable and whose row is not yet."""

    instance: StoredInstance
    facts: StudyFacts
    origin: Origin


@dataclass(slots=True, eq=False)
class _Ticket:
    """One caller that waits; exactly one of ``outcome`` and ``error`` is set before it is let go."""

    received: Received
    outcome: Registration | None = None
    error: StorageError | None = None

    @property
    def is_done(self) -> bool:
        return self.outcome is not None or self.error is not None


class BatchCommit:
    """Registers instances. Whoever's turn it is commits for everybody who waits; the others find it done."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._turn = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._waiting_lock = threading.Lock()

    def register(self, received: Received) -> Registration:
        """Return when the row is committed, with what the instance turned out to be; StorageError where it is not."""
        ticket = _Ticket(received)
        with self._waiting_lock:
            self._waiting.append(ticket)
        with self._turn:
            if not ticket.is_done:
                with self._waiting_lock:
                    batch, self._waiting = self._waiting, []
                # By study, for each is locked until the commit: two gateways must not wait for one another.
                self._commit(sorted(batch, key=lambda ticket: ticket.received.instance.study_instance_uid))
        if ticket.outcome is None:
            raise ticket.error or StorageError("the row of an instance was not written")
        return ticket.outcome

    def _commit(self, batch: Sequence[_Ticket]) -> None:
        """Write one transaction; where a batch fails, each of it has another try alone, so none pays for another."""
        try:
            with self._database.write() as session:
                outcomes = [
                    studies.register_instance(
                        session,
                        ticket.received.instance,
                        ticket.received.facts,
                        origin=ticket.received.origin,
                        now=self._clock(),
                    )
                    for ticket in batch
                ]
        except StorageError as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            for ticket in batch:
                self._commit([ticket])
        else:
            for ticket, outcome in zip(batch, outcomes, strict=True):
                ticket.outcome = outcome
