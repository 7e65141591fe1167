"""Storage and Verification SCP (PS3.4 Annexes A and B): associations in, statuses out.

Each data set is kept byte for byte as it came over the wire; its pixels are never decoded here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import structlog
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.config import GatewaySettings
from dicom_gateway.contexts import accepted_contexts
from dicom_gateway.errors import GatewayError
from dicom_gateway.objects.equipment import IMPLEMENTATION_CLASS_UID
from dicom_gateway.privacy import keep_identifiers_out_of_logs
from dicom_gateway.receiving.admission import (
    NETWORK_NOT_ALLOWED,
    TOO_MANY_ASSOCIATIONS,
    Admission,
    Admitted,
    Caller,
    Refused,
)
from dicom_gateway.receiving.batch_commit import BatchCommit
from dicom_gateway.receiving.echo_count import EchoCount, Echoes
from dicom_gateway.receiving.messages import MessageHooks
from dicom_gateway.receiving.peer_admission import PeerAdmission
from dicom_gateway.receiving.peer_matching import MatchingRules
from dicom_gateway.receiving.receive import InstanceReceiver, status_of
from dicom_gateway.receiving.server import HardenedServer, Limits, ServerHooks
from dicom_gateway.receiving.spool import Spool
from dicom_gateway.receiving.store_request import safe_title, safe_uid
from dicom_gateway.status import Status
from storage import associations
from storage.database import Database
from storage.errors import ConfigurationError, StorageError
from storage.objects import ObjectStore
from storage.peers import Service
from storage.studies import Origin

_ABORT_SECONDS = 2.0

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class OpenAssociation:
    """Who opened it, and what it did so far; ``recorded_as`` is our id for it once it is on record."""

    admitted: Admitted
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
        admission: Admission | None = None,
        on_association_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._process_id = process_id
        self._clock = clock
        self._on_association_end = on_association_end
        self._admission = admission or PeerAdmission(database, settings, clock)
        self._fence = MatchingRules.of(settings)
        self._admitted: dict[Association, Admitted] = {}
        self._receiver = InstanceReceiver(database, objects, settings, BatchCommit(database, clock), clock)
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
        logger.info("listener.stopped")

    def _wait_until_idle(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout=seconds)

    def _entity(self) -> AE:
        entity = AE(ae_title=self._settings.aet)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
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
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ESTABLISHED, self._established),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_C_ECHO, self._echoed),
            (evt.EVT_C_STORE, self._store),
        ]

    def _accepts(self, address: str) -> bool:
        """Close to what the settings keep out; strangers are heard, so that they can be named."""
        if self._fence.is_fenced_out(address):
            self._admission.note_refusal(Caller("", "", address), NETWORK_NOT_ALLOWED)
            return False
        return True

    def _requested(self, event: evt.Event) -> None:
        """Turn a caller away, or offer it what its entry allows it."""
        association, caller = event.assoc, _caller(event.assoc)
        answer = self._admission.admit(caller)
        if isinstance(answer, Refused):
            self._admission.note_refusal(caller, answer)
            association.acse.send_reject(answer.reason.result, answer.reason.source, answer.reason.reason)
            association.kill()
            return
        self._admitted[association] = answer
        if answer.sop_classes is not None or answer.services != frozenset(Service):
            association.acceptor.supported_contexts = _offered(answer)

    def _established(self, event: evt.Event) -> None:
        with self._changed:
            self._open[event.assoc] = OpenAssociation(self._admitted[event.assoc])
        # Nothing is written yet: C-ECHO is answered whatever the database does.

    def _rejected(self, event: evt.Event) -> None:
        """Note what the library turned away: above its number of associations."""
        self._admission.note_refusal(_caller(event.assoc), TOO_MANY_ASSOCIATIONS)

    def _echoed(self, event: evt.Event) -> int:
        self._open[event.assoc].has_echoed = True
        return int(Status.SUCCESS)

    def _store(self, event: evt.Event) -> int:
        opened = self._open[event.assoc]
        request = cast("C_STORE", event.request)
        # On record before its first instance is, so that the study of that instance is held open.
        association_id = self._recorded(event.assoc, opened)
        if isinstance(request.DataSet, Spool):
            refusal = self._admission.charge(opened.admitted, request.DataSet.received_bytes)
            if refusal is not None:
                # Neither logged nor recorded for this image: the admission counts it, and a sender repeats it at will.
                request.DataSet.discard()
                return status_of(refusal)
        origin = Origin(opened.admitted.caller.calling_aet, association_id, opened.admitted.lane)
        uid = safe_uid(str(request.AffectedSOPInstanceUID))
        return self._receiver.store(request.DataSet, sop_instance_uid=uid, origin=origin)

    def _refused_request(self, association: Association, sop_instance_uid: str, error: GatewayError) -> None:
        opened = self._open.get(association)
        if opened is not None:
            self._recorded(association, opened)
        self._receiver.refuse(error, sop_instance_uid=sop_instance_uid, calling_aet=_caller(association).calling_aet)

    def _recorded(self, association: Association, opened: OpenAssociation) -> str | None:
        """Put an association on record if it is not yet, and return our id for it; None where that cannot be done."""
        with opened.lock:
            if opened.recorded_as is None:
                opened.recorded_as = self._record_opened(association)
            return opened.recorded_as

    def _record_opened(self, association: Association) -> str | None:
        peer = _caller(association)
        try:
            with self._database.write() as session:
                association_id = associations.opened(
                    session,
                    process_id=self._process_id,
                    calling_aet=peer.calling_aet,
                    called_aet=peer.called_aet,
                    remote_address=peer.address,
                    now=self._clock(),
                )
        except StorageError as error:
            logger.warning("association.not_recorded", code=error.code, calling_aet=peer.calling_aet)
            return None
        return association_id

    def _ended(self, association: Association) -> None:
        opened = self._open.get(association)
        try:
            if opened is not None:
                self._record_ended(association, opened)
        except StorageError as error:
            # Assembly takes it for closed when this process stops or its heartbeat is lost.
            logger.warning("association.end_not_recorded", code=error.code)
        finally:
            self._admitted.pop(association, None)
            with self._changed:
                self._open.pop(association, None)
                self._changed.notify_all()
            self._on_association_end()

    def _record_ended(self, association: Association, opened: OpenAssociation) -> None:
        if opened.recorded_as is None and opened.has_echoed:
            self._record_echoes(self._echoes.add(_caller(association).calling_aet, now=self._clock()))
            return
        association_id = self._recorded(association, opened)
        if association_id is not None:
            how = "released" if association.is_released else "aborted"
            with self._database.write() as session:
                associations.closed(session, association_id, how=how, now=self._clock())

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


def _caller(association: Association) -> Caller:
    request = association.requestor.primitive
    return Caller(
        calling_aet=safe_title(str(request.calling_ae_title)) if request else "",
        called_aet=safe_title(str(request.called_ae_title)) if request else "",
        address=str(association.requestor.address or ""),
    )


def _offered(admitted: Admitted) -> list[PresentationContext]:
    """Return the contexts that a caller may have: those of its services, and of these its SOP classes."""

    def is_allowed(sop_class_uid: str) -> bool:
        if sop_class_uid == Verification:
            return Service.VERIFICATION in admitted.services
        return Service.STORAGE in admitted.services and (
            admitted.sop_classes is None or sop_class_uid in admitted.sop_classes
        )

    return [context for context in accepted_contexts() if is_allowed(str(context.abstract_syntax))]


def _quieten() -> None:
    """Keep pynetdicom out of the log: it writes tracebacks for what any port scanner sends, and data sets at worst.

    What matters of it is logged here with a code. UIDs that break the rules are not left to pynetdicom either, which
    would abort the association where a coded refusal of the one instance is due.
    """
    keep_identifiers_out_of_logs()
    _config.ENFORCE_UID_CONFORMANCE = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
