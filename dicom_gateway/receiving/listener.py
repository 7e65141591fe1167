"""Storage and Verification SCP (PS3.4 Annexes A and B): associations in, statuses out.

Each data set is kept byte for byte as it came over the wire; its pixels are never decoded here.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import structlog
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from dicom_gateway.config import GatewaySettings
from dicom_gateway.contexts import accepted_contexts
from dicom_gateway.errors import GatewayError
from dicom_gateway.objects.equipment import IMPLEMENTATION_CLASS_UID
from dicom_gateway.privacy import keep_identifiers_out_of_logs
from dicom_gateway.receiving.echo_count import EchoCount, Echoes
from dicom_gateway.receiving.messages import MessageHooks
from dicom_gateway.receiving.receive import InstanceReceiver
from dicom_gateway.receiving.server import HardenedServer, Limits, ServerHooks
from dicom_gateway.receiving.store_request import address_allowed, refusal_code, safe_title, safe_uid
from dicom_gateway.status import Status
from storage import associations
from storage.database import Database
from storage.errors import ConfigurationError, StorageError
from storage.objects import ObjectStore
from storage.studies import Origin

_ABORT_SECONDS = 2.0

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of an association, as far as it says."""

    calling_aet: str
    called_aet: str
    address: str


@dataclass(slots=True)
class OpenAssociation:
    """What an open association did so far; ``recorded_as`` is our id for it once it is on record."""

    recorded_as: str | None = None
    has_echoed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while it is put on record: its requests are taken and refused in two threads."""


class Listener:
    """The gateway's open port."""

    def __init__(
        self,
        settings: GatewaySettings,
        database: Database,
        objects: ObjectStore,
        *,
        process_id: str,
        clock: Callable[[], datetime],
        on_association_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._process_id = process_id
        self._clock = clock
        self._on_association_end = on_association_end
        self._receiver = InstanceReceiver(database, objects, settings, process_id=process_id, clock=clock)
        self._open: dict[Association, OpenAssociation] = {}
        self._echoes = EchoCount()
        self._changed = threading.Condition()
        self._server: HardenedServer | None = None

    @property
    def port(self) -> int:
        """Port that the listener is bound to."""
        if self._server is None:
            raise RuntimeError("the listener is not started")
        return int(self._server.server_address[1])

    @property
    def open_associations(self) -> int:
        """Number of associations that are open now."""
        return len(self._open)

    def start(self) -> None:
        """Bind the port and begin to accept; ConfigurationError where the address is taken or is not ours."""
        _quieten()
        if not self._settings.allowed_aets:
            logger.warning("listener.open_to_any_aet", hint="set allowed_aets to the peers that may send")
        entity = self._entity()
        address = (self._settings.host, self._settings.port)
        try:
            server = HardenedServer(
                entity, address, accepted_contexts(), evt_handlers=self._handlers(), hooks=self._hooks()
            )
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {address[0]}:{address[1]} ({error.strerror}); choose another host or port"
            ) from error
        self._receiver.start()
        entity._servers.append(server)  # noqa: SLF001 - its shutdown() takes itself out of this list
        self._server = server
        thread = threading.Thread(target=server.serve_forever, name="listener", daemon=True)
        thread.start()
        logger.info("listener.started", aet=self._settings.aet, host=self._settings.host, port=self.port)

    def stop(self) -> None:
        """Stop accepting, let open associations finish for a while, and abort the rest."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.half_open.close_all()
        if not self._wait_until_idle(self._settings.drain_seconds):
            logger.warning("listener.aborting", code="drain_timeout", associations=self.open_associations)
            for association in server.active_associations:
                association.abort()
            self._wait_until_idle(_ABORT_SECONDS)
        self._record_echoes(self._echoes.take())
        self._receiver.stop()
        logger.info("listener.stopped")

    def drain(self, seconds: float) -> bool:
        """Wait until every image that was acknowledged is on record, and say whether it is."""
        return self._receiver.drain(seconds)

    def _wait_until_idle(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout=seconds)

    def _entity(self) -> AE:
        entity = AE(ae_title=self._settings.aet)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.require_called_aet = True
        entity.require_calling_aet = list(self._settings.allowed_aets)
        entity.maximum_associations = self._settings.maximum_associations
        entity.maximum_pdu_size = self._settings.maximum_pdu_bytes
        entity.acse_timeout = self._settings.acse_seconds
        entity.network_timeout = self._settings.network_seconds
        entity.dimse_timeout = self._settings.network_seconds
        return entity

    def _hooks(self) -> ServerHooks:
        settings = self._settings
        limits = Limits(
            maximum_pdu_bytes=settings.maximum_pdu_bytes,
            maximum_half_open=settings.maximum_half_open,
            maximum_half_open_per_address=settings.maximum_half_open_per_address,
            request_seconds=settings.acse_seconds,
            pdu_seconds=settings.pdu_seconds,
            send_seconds=settings.network_seconds,
        )
        messages = MessageHooks(open_spool=self._receiver.open_spool, on_refusal=self._refused_request)
        return ServerHooks(limits=limits, accepts=self._accepts, messages=messages, on_end=self._ended)

    def _handlers(self) -> list[evt.EventHandlerType]:
        return [
            (evt.EVT_ESTABLISHED, self._established),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_C_ECHO, self._echoed),
            (evt.EVT_C_STORE, self._store),
        ]

    def _accepts(self, address: str) -> bool:
        if address_allowed(address, self._settings.allowed_networks):
            return True
        # Logged but not put on the audit chain: anybody who can send a SYN could make it grow without end.
        logger.warning("connection.refused", code="network_not_allowed", address=address)
        return False

    def _established(self, event: evt.Event) -> None:
        with self._changed:
            self._open[event.assoc] = OpenAssociation()
        # Nothing is written yet: C-ECHO is answered whatever the database does.

    def _rejected(self, event: evt.Event) -> None:
        peer = _peer(event.assoc)
        code = refusal_code(
            peer.calling_aet,
            peer.called_aet,
            own_aet=self._settings.aet,
            allowed_aets=self._settings.allowed_aets,
        )
        code = code or "too_many_associations"
        logger.warning(
            "association.refused",
            code=code,
            calling_aet=peer.calling_aet,
            called_aet=peer.called_aet,
            address=peer.address,
        )
        try:
            with self._database.write() as session:
                associations.refused(
                    session,
                    calling_aet=peer.calling_aet,
                    called_aet=peer.called_aet,
                    remote_address=peer.address,
                    code=code,
                    now=self._clock(),
                )
        except StorageError as error:
            logger.warning("association.not_recorded", code=error.code)

    def _echoed(self, event: evt.Event) -> int:
        self._open[event.assoc].has_echoed = True
        return int(Status.SUCCESS)

    def _store(self, event: evt.Event) -> int:
        peer = _peer(event.assoc)
        # On record before its first instance is, so that the study of that instance is held open.
        association_id = self._recorded(event.assoc, self._open[event.assoc])
        origin = Origin(peer.calling_aet, association_id, self._settings.lane(peer.calling_aet))
        request = cast("C_STORE", event.request)
        uid = safe_uid(str(request.AffectedSOPInstanceUID))
        return self._receiver.store(request.DataSet, sop_instance_uid=uid, origin=origin)

    def _refused_request(self, association: Association, sop_instance_uid: str, error: GatewayError) -> None:
        opened = self._open.get(association)
        if opened is not None:
            self._recorded(association, opened)
        self._receiver.refuse(error, sop_instance_uid=sop_instance_uid, calling_aet=_peer(association).calling_aet)

    def _recorded(self, association: Association, opened: OpenAssociation) -> str | None:
        """Put an association on record if it is not yet, and return our id for it; None where that cannot be done."""
        with opened.lock:
            if opened.recorded_as is None:
                opened.recorded_as = self._record_opened(association)
            return opened.recorded_as

    def _record_opened(self, association: Association) -> str | None:
        peer = _peer(association)
        association_id, now = str(uuid.uuid4()), self._clock()
        taken = self._receiver.note(
            lambda session: associations.opened(
                session,
                association_id=association_id,
                process_id=self._process_id,
                calling_aet=peer.calling_aet,
                called_aet=peer.called_aet,
                remote_address=peer.address,
                now=now,
            ),
            ahead=True,
        )
        if not taken:
            logger.warning("association.not_recorded", code="out_of_resources", calling_aet=peer.calling_aet)
        return association_id if taken else None

    def _ended(self, association: Association) -> None:
        opened = self._open.get(association)
        try:
            if opened is not None:
                self._record_ended(association, opened)
        finally:
            with self._changed:
                self._open.pop(association, None)
                self._changed.notify_all()
            self._on_association_end()

    def _record_ended(self, association: Association, opened: OpenAssociation) -> None:
        if opened.recorded_as is None and opened.has_echoed:
            self._record_echoes(self._echoes.add(_peer(association).calling_aet, now=self._clock()))
            return
        association_id = self._recorded(association, opened)
        if association_id is None:
            return
        how = "released" if association.is_released else "aborted"
        # In its turn, behind its images: it holds their studies open until they are on record.
        taken = self._receiver.note(
            lambda session: associations.closed(session, association_id, how=how, now=self._clock()),
            then=self._on_association_end,
        )
        if not taken:
            # Assembly takes it for closed when this process stops or its heartbeat is lost.
            logger.warning("association.end_not_recorded", code="out_of_resources")

    def _record_echoes(self, echoes: Echoes | None) -> None:
        if echoes is None:
            return
        logger.info("association.echoes", associations=echoes.associations, peers=echoes.peers)
        try:
            with self._database.write() as session:
                associations.echoed(
                    session,
                    count=echoes.associations,
                    peers=echoes.peers,
                    since=echoes.since,
                    now=self._clock(),
                )
        except StorageError as error:
            logger.warning("association.not_recorded", code=error.code)


def _peer(association: Association) -> Peer:
    request = association.requestor.primitive
    return Peer(
        calling_aet=safe_title(str(request.calling_ae_title)) if request else "",
        called_aet=safe_title(str(request.called_ae_title)) if request else "",
        address=str(association.requestor.address or ""),
    )


def _quieten() -> None:
    """Keep pynetdicom out of the log: it writes tracebacks for what any port scanner sends, and data sets at worst.

    What matters of it is logged here with a code. UIDs that break the rules are not left to pynetdicom either, which
    would abort the association where a coded refusal of the one instance is due.
    """
    keep_identifiers_out_of_logs()
    _config.ENFORCE_UID_CONFORMANCE = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
