"""Forwarding: whatever is sealed goes to the syslog server, in the order of the log, at least once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from dicom_gateway.audit_messages.message import message_of
from dicom_gateway.audit_messages.participants import AuditSource
from dicom_gateway.audit_messages.sending import send
from dicom_gateway.audit_messages.syslog import SyslogOrigin, syslog_message
from dicom_gateway.audit_messages.syslog_server import SyslogServer, Transport
from dicom_gateway.loops import Loop
from storage import audit_forwards
from storage.audit_forwards import SealedEvents
from storage.database import Database, utc_now
from storage.errors import OncueError

_ROUND_SECONDS = 1.0
_BATCH = 500

logger = structlog.get_logger(__name__)


class Forwarder:
    """Sends what one syslog server lacks; of several processes the one with the lease does.

    A batch counts as sent once the server has read it; where that is not known it is sent again.
    """

    def __init__(
        self,
        database: Database,
        server: SyslogServer,
        source: AuditSource,
        *,
        owner: str,
        clock: Callable[[], datetime] = utc_now,
        batch: int = _BATCH,
    ) -> None:
        self._database = database
        self._server = server
        self._source = source
        self._owner = owner
        self._clock = clock
        self._batch = batch
        self._origin = SyslogOrigin()

    def begin(self) -> None:
        """Note the server, so that it gets all that is sealed from now on.

        ConfigurationError where its certificates cannot be used.
        """
        if self._server.transport is Transport.TLS:
            self._server.tls_context()
        with self._database.write() as session:
            audit_forwards.begin(session, str(self._server), now=self._clock())

    def round(self) -> float | None:
        """Send one batch; return 0.0 where more may be waiting. A failure is recorded and tried again later."""
        first = self._take()
        if first is None:
            return None
        with self._database.read() as session:
            sealed = audit_forwards.sealed_events(session, first, limit=self._batch)
        try:
            messages = self._messages(sealed)
            if messages:
                send(self._server, messages)
        except OncueError as error:
            self._postpone(error)
            return None
        with self._database.write() as session:
            audit_forwards.advance(session, str(self._server), sealed.next_leaf, owner=self._owner, now=self._clock())
        return 0.0

    def _take(self) -> int | None:
        destination, now = str(self._server), self._clock()
        with self._database.read() as session:
            if not audit_forwards.is_due(session, destination, owner=self._owner, now=now):
                return None
        with self._database.write() as session:
            return audit_forwards.take(session, destination, owner=self._owner, now=now)

    def _messages(self, sealed: SealedEvents) -> list[bytes]:
        found = (message_of(event, self._source) for event in sealed.events)
        return [syslog_message(message, self._origin) for message in found if message is not None]

    def _postpone(self, error: OncueError) -> None:
        logger.warning("audit.not_forwarded", server=str(self._server), code=error.code, reason=str(error))
        with self._database.write() as session:
            audit_forwards.postpone(
                session,
                str(self._server),
                owner=self._owner,
                code=error.code,
                reason=str(error),
                now=self._clock(),
            )


def forwarding_loop(forwarder: Forwarder) -> Loop:
    """Return the loop that forwards, at most a second after sealing."""
    return Loop("audit-forwarding", forwarder.round, seconds=_ROUND_SECONDS)
