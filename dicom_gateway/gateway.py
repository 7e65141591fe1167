"""The gateway process: listener, assembly, delivery and heartbeat, put together, started and stopped."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from datetime import datetime

import structlog

from dicom_gateway.assembly import Assembly
from dicom_gateway.config import GatewaySettings
from dicom_gateway.loops import Loop
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.receiving.listener import Listener
from dicom_gateway.sending.associations import Patience
from dicom_gateway.sending.delivery import Dispatch, Dispatcher, ReportWriter
from storage import associations, processes
from storage.database import Database, utc_now
from storage.errors import StorageError
from storage.objects import ObjectStore

_HEARTBEAT_SECONDS = 5.0
_SLOWEST_ASSEMBLY_SECONDS = 1.0
_ABANDONED_SECONDS = 24 * 3600.0

logger = structlog.get_logger(__name__)


class Gateway:
    """Everything between oncue and its DICOM peers. ``equipment`` is what it calls itself in the objects it writes."""

    def __init__(
        self,
        settings: GatewaySettings,
        database: Database,
        objects: ObjectStore,
        *,
        equipment: Equipment | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.process_id = f"gateway-{socket.gethostname()[:32]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._database = database
        self._objects = objects
        self._clock = clock
        self._listener = Listener(settings, database, objects, process_id=self.process_id, clock=clock)
        assembly = Assembly(database, settings.quiet_seconds, clock)
        writer = ReportWriter(database, objects, equipment or Equipment(), settings.destinations, clock)
        self._dispatcher = Dispatcher(database, objects, _dispatch(settings, self.process_id, clock))
        self._loops = (
            Loop("heartbeat", self._beat, seconds=_HEARTBEAT_SECONDS),
            Loop("assembly", assembly.close_quiet, seconds=min(settings.quiet_seconds / 4, _SLOWEST_ASSEMBLY_SECONDS)),
            Loop("reports", writer.write_due, seconds=settings.delivery_poll_seconds),
            Loop("delivery", self._dispatcher.send_due, seconds=settings.delivery_poll_seconds),
        )

    @property
    def port(self) -> int:
        """Port that the listener is bound to."""
        return self._listener.port

    def start(self) -> None:
        """Record this process, open the port and begin all loops.

        Raises StorageError where the database is not there, ConfigurationError where the port cannot be had.
        """
        self._objects.prepare()
        swept = self._objects.sweep(older_than_seconds=_ABANDONED_SECONDS, now=self._clock())
        if swept:
            logger.info("gateway.swept", files=swept)
        with self._database.write() as session:
            processes.start(session, self.process_id, "gateway", now=self._clock())
            associations.close_lost(session, now=self._clock())
        self._listener.start()
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Stop receiving, let what is open finish, end the loops, and record the end."""
        for loop in self._loops[1:]:
            loop.stop()
        self._dispatcher.close()
        self._listener.stop()
        self._loops[0].stop()
        for loop in self._loops:
            loop.join()
        try:
            with self._database.write() as session:
                processes.stop(session, self.process_id, now=self._clock())
        except StorageError as error:
            logger.warning("gateway.end_not_recorded", code=error.code)

    def _beat(self) -> bool:
        with self._database.write() as session:
            processes.beat(session, self.process_id, now=self._clock())
            associations.close_lost(session, now=self._clock())
        return False


def _dispatch(settings: GatewaySettings, owner: str, clock: Callable[[], datetime]) -> Dispatch:
    patience = Patience(
        connect_seconds=settings.connect_seconds,
        associate_seconds=settings.acse_seconds,
        answer_seconds=settings.answer_seconds,
    )
    return Dispatch(
        owner=owner,
        calling_aet=settings.aet,
        lease_seconds=settings.delivery_lease_seconds,
        patience=patience,
        clock=clock,
    )
