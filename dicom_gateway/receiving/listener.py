"""Storage and Verification SCP (PS3.4 Annexes A and B): ports open, associations in, statuses out.

Each data set is kept byte for byte as it came over the wire; its pixels are never decoded here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import structlog

from dicom_gateway.config import GatewaySettings
from dicom_gateway.contexts import accepted_contexts, data_set_contexts
from dicom_gateway.objects.equipment import IMPLEMENTATION_CLASS_UID, implementation_version_name
from dicom_gateway.privacy import keep_identifiers_out_of_logs
from dicom_gateway.protocol.exchange import DataSetService
from dicom_gateway.protocol.pdus import Identification
from dicom_gateway.receiving.acceptor import Acceptor, Rules, Shared, Timing, Watchers
from dicom_gateway.receiving.admission import NETWORK_NOT_ALLOWED, Admission, Caller
from dicom_gateway.receiving.association import AssociationLimits, OpenAssociation
from dicom_gateway.receiving.association_records import AssociationRecords
from dicom_gateway.receiving.bounded_log import BoundedLog
from dicom_gateway.receiving.doors import Arrival, OpenDoor
from dicom_gateway.receiving.half_open import HalfOpen, HalfOpenLimits
from dicom_gateway.receiving.negotiation import Negotiation
from dicom_gateway.receiving.peer_matching import MatchingRules
from dicom_gateway.receiving.receive import InstanceReceiver
from dicom_gateway.receiving.services import ServiceParts
from dicom_gateway.receiving.slots import SlotLimits, Slots
from dicom_gateway.tls.doors import Door
from storage.database import Database
from storage.errors import ConfigurationError
from storage.objects import ObjectStore

_ABORT_SECONDS = 2.0
_TOO_LARGE = 4  # times the largest instance is no honest mistake any more

logger = structlog.get_logger(__name__)


class Listener:
    """The gateway's open ports. ``doors`` are by default the one of the settings.

    ``data_set_services`` answer requests of other SOP classes than Verification and Storage, by SOP class.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        database: Database,
        objects: ObjectStore,
        *,
        process_id: str,
        clock: Callable[[], datetime],
        on_association_end: Callable[[], None] = lambda: None,
        admission: Admission,
        doors: Sequence[Door] | None = None,
        data_set_services: Mapping[str, DataSetService] | None = None,
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._rules = MatchingRules.of(settings)
        self._doors = tuple(doors or (Door(settings.host, settings.port),))
        self._on_association_end = on_association_end
        self._data_set_services = dict(data_set_services or {})
        self._receiver = InstanceReceiver(database, objects, settings, process_id=process_id, clock=clock)
        self._records = AssociationRecords(self._receiver.note, process_id, clock, on_closed=on_association_end)
        self._log = BoundedLog()
        self._half_open = HalfOpen(
            HalfOpenLimits(settings.maximum_half_open, settings.maximum_half_open_per_address), self._log
        )
        self._open: set[OpenAssociation] = set()
        self._changed = threading.Condition()
        self._bound: tuple[OpenDoor, ...] = ()
        self._acceptor = self._made_acceptor()

    @property
    def port(self) -> int:
        """Port of the first door."""
        return self.ports[0]

    @property
    def ports(self) -> tuple[int, ...]:
        """Ports that the listener is bound to, in the order of its doors."""
        if not self._bound:
            raise RuntimeError("the listener is not started")
        return tuple(door.port for door in self._bound)

    @property
    def open_associations(self) -> int:
        """Number of associations that are open now."""
        return len(self._open)

    @property
    def waiting_images(self) -> int:
        """Number of images that are acknowledged and not on record yet."""
        return self._receiver.waiting

    def start(self) -> None:
        """Bind the ports and begin to accept; ConfigurationError where an address is taken or is not ours."""
        keep_identifiers_out_of_logs()
        bound: list[OpenDoor] = []
        try:
            for door in self._doors:
                bound.append(self._bind(door))  # noqa: PERF401 - those before a failure are closed again
        except ConfigurationError:
            for opened in bound:
                opened.close()
            raise
        self._receiver.start()
        self._bound = tuple(bound)
        for opened, door in zip(self._bound, self._doors, strict=True):
            opened.start()
            logger.info("listener.started", aet=self._settings.aet, host=door.host, port=opened.port)

    def stop(self) -> None:
        """Stop accepting, let open associations finish for a while, and abort the rest."""
        bound, self._bound = self._bound, ()
        if not bound:
            return
        for door in bound:
            door.close()
        self._half_open.close_all()
        if not self._wait_until_idle(self._settings.drain_seconds):
            logger.warning("listener.aborting", code="drain_timeout", associations=self.open_associations)
            self._end_all(OpenAssociation.abort)
            if not self._wait_until_idle(_ABORT_SECONDS):
                self._end_all(OpenAssociation.cut)
                self._wait_until_idle(_ABORT_SECONDS)
        self._records.write_echoes()
        self._receiver.stop()
        logger.info("listener.stopped")

    def drain(self, seconds: float) -> bool:
        """Wait until every image that was acknowledged is on record, and say whether it is."""
        return self._receiver.drain(seconds)

    def _made_acceptor(self) -> Acceptor:
        settings = self._settings
        rules = Rules(
            timing=Timing(settings.acse_seconds, settings.pdu_seconds, send_seconds=settings.network_seconds),
            limits=AssociationLimits(
                settings.maximum_pdu_bytes,
                idle_seconds=settings.network_seconds,
                longest_data_set_bytes=_TOO_LARGE * settings.maximum_instance_megabytes << 20,
            ),
            negotiation=Negotiation(
                [*accepted_contexts(), *data_set_contexts(self._data_set_services)],
                {uid: service.permission for uid, service in self._data_set_services.items()},
            ),
            identification=Identification(
                settings.maximum_pdu_bytes, IMPLEMENTATION_CLASS_UID, implementation_version_name()
            ),
        )
        shared = Shared(
            admission=self._admission,
            services=ServiceParts(self._receiver, self._admission, self._records, self._data_set_services),
            slots=Slots(_slot_limits(settings)),
            half_open=self._half_open,
            log=self._log,
        )
        return Acceptor(rules, shared, Watchers(self._opened, self._ended))

    def _bind(self, door: Door) -> OpenDoor:
        try:
            return OpenDoor(door, self._arrived, is_shared=self._settings.processes > 1)
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {door.host}:{door.port} ({error.strerror}); choose another host or port"
            ) from error

    def _arrived(self, arrival: Arrival) -> None:
        """Let a connection in by its address, count it as half-open, and give it a thread of its own."""
        if self._rules.is_fenced_out(arrival.address):
            self._admission.note_refusal(Caller("", "", arrival.address), NETWORK_NOT_ALLOWED)
            arrival.connection.close()
            return
        known = self._admission.is_known_address(arrival.address)
        self._half_open.add(arrival.connection, arrival.address, is_known=known)
        try:
            threading.Thread(target=self._acceptor.serve, args=(arrival,), name="association", daemon=True).start()
        except RuntimeError:
            # The system gives us no more threads. Those at work go on; this peer may come again.
            self._log.write("connection.refused", code="no_thread", address=arrival.address, level="warning")
            self._half_open.remove(arrival.connection)
            arrival.connection.close()

    def _opened(self, association: OpenAssociation) -> None:
        with self._changed:
            self._open.add(association)
        # Nothing is written yet: C-ECHO is answered whatever the database does.

    def _ended(self, association: OpenAssociation) -> None:
        with self._changed:
            self._open.discard(association)
            self._changed.notify_all()
        self._on_association_end()

    def _end_all(self, end: Callable[[OpenAssociation], None]) -> None:
        with self._changed:
            left = tuple(self._open)
        for association in left:
            end(association)

    def _wait_until_idle(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout=seconds)


def _slot_limits(settings: GatewaySettings) -> SlotLimits:
    """Return this process's share of the places: connections are spread evenly over the processes."""
    share = -(-settings.maximum_associations // settings.processes)
    return SlotLimits(
        maximum=share,
        per_peer=-(-settings.maximum_associations_per_peer // settings.processes),
        per_address=-(-settings.maximum_associations_per_address // settings.processes),
        reserved=min(settings.reserved_associations, share // 4),
    )
