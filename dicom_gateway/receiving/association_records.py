"""What is put on record of associations: each from its first image to its end, those without one by their number."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from dicom_gateway.receiving.admission import Caller
from dicom_gateway.receiving.echo_count import EchoCount, Echoes
from dicom_gateway.receiving.repeat_bound import RepeatBound
from storage import associations
from storage.database import Database
from storage.errors import StorageError

logger = structlog.get_logger(__name__)


class AssociationRecords:
    """The records of one gateway process. Threads share it."""

    def __init__(self, database: Database, process_id: str, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._process_id = process_id
        self._clock = clock
        self._echoes = EchoCount()
        self._without_request = RepeatBound()

    def opened(self, caller: Caller) -> str | None:
        """Put an association on record and return our id for it; None where that cannot be done now."""
        try:
            with self._database.write() as session:
                return associations.opened(
                    session,
                    process_id=self._process_id,
                    calling_aet=caller.calling_aet,
                    called_aet=caller.called_aet,
                    remote_address=caller.address,
                    now=self._clock(),
                )
        except StorageError as error:
            logger.warning("association.not_recorded", code=error.code, calling_aet=caller.calling_aet)
            return None

    def closed(self, association_id: str, how: str) -> None:
        """Record the end of an association."""
        try:
            with self._database.write() as session:
                associations.closed(session, association_id, how=how, now=self._clock())
        except StorageError as error:
            # Assembly takes it for closed when this process stops or its heartbeat is lost.
            logger.warning("association.end_not_recorded", code=error.code)

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
        try:
            with self._database.write() as session:
                associations.echoed(
                    session, count=echoes.associations, peers=echoes.peers, since=echoes.since, now=self._clock()
                )
        except StorageError as error:
            logger.warning("association.not_recorded", code=error.code)
