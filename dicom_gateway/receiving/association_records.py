"""What is put on record of associations: each from its first image to its end, those without one by their number."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog
from sqlalchemy.orm import Session

from dicom_gateway.receiving.admission import Caller
from dicom_gateway.receiving.echo_count import EchoCount, Echoes
from dicom_gateway.receiving.repeat_bound import RepeatBound
from storage import associations


class TakeNote(Protocol):
    """Has something written in its turn; says False where it is not taken."""

    def __call__(
        self, write: Callable[[Session], object], *, ahead: bool = False, then: Callable[[], None] | None = None
    ) -> bool:
        """Take it; ``then`` is called when it is committed."""
        ...


logger = structlog.get_logger(__name__)


class AssociationRecords:
    """The records of one gateway process. Threads share it."""

    def __init__(
        self,
        note: TakeNote,
        process_id: str,
        clock: Callable[[], datetime],
        *,
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        """``note`` is that of ``InstanceReceiver``; ``on_closed`` is called when an end is committed."""
        self._note = note
        self._on_closed = on_closed
        self._process_id = process_id
        self._clock = clock
        self._echoes = EchoCount()
        self._without_request = RepeatBound()

    def opened(self, caller: Caller) -> str | None:
        """Put an association on record, ahead of its images, and return our id for it; None where too much waits."""
        association_id, now = str(uuid.uuid4()), self._clock()
        taken = self._note(
            lambda session: associations.opened(
                session,
                association_id=association_id,
                process_id=self._process_id,
                calling_aet=caller.calling_aet,
                called_aet=caller.called_aet,
                remote_address=caller.address,
                now=now,
            ),
            ahead=True,
        )
        if not taken:
            logger.warning("association.not_recorded", code="out_of_resources", calling_aet=caller.calling_aet)
        return association_id if taken else None

    def closed(self, association_id: str, how: str) -> None:
        """Record the end of an association behind its images, which hold their studies open until then."""
        taken = self._note(
            lambda session: associations.closed(session, association_id, how=how, now=self._clock()),
            then=self._on_closed,
        )
        if not taken:
            # Assembly takes it for closed when this process stops or its heartbeat is lost.
            logger.warning("association.end_not_recorded", code="out_of_resources")

    def is_due_without_request(self, calling_aet: str) -> bool:
        """Say whether an association that asked for nothing is put on record by itself; not when a peer repeats it."""
        return self._without_request.add(calling_aet, now=self._clock()) is not None

    def echoed(self, calling_aet: str) -> None:
        """Count an association that at most echoed; the count is put on record once a day."""
        self._write(self._echoes.add(calling_aet, now=self._clock()))

    def write_echoes(self) -> None:
        """Put the count on record now."""
        self._write(self._echoes.take())

    def _write(self, echoes: Echoes | None) -> None:
        if echoes is None:
            return
        logger.info("association.echoes", associations=echoes.associations, peers=echoes.peers)
        now = self._clock()
        taken = self._note(
            lambda session: associations.echoed(
                session, count=echoes.associations, peers=echoes.peers, since=echoes.since, now=now
            )
        )
        if not taken:
            logger.warning("association.not_recorded", code="out_of_resources")
