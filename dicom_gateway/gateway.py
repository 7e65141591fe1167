"""The gateway process: listener, assembly, delivery and heartbeat, put together, started and stopped."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable
from datetime import datetime

import structlog

from dicom_gateway.announcing.announcement_rounds import AnnouncementRounds
from dicom_gateway.arrivals import Arrivals
from dicom_gateway.commitment.both_ways import StorageCommitment
from dicom_gateway.commitment.service import Vouching
from dicom_gateway.completeness.sources import QueryAddress
from dicom_gateway.config import GatewaySettings
from dicom_gateway.fetching.fetch_rounds import FetchRounds
from dicom_gateway.inlets.folder_watch import FolderWatch
from dicom_gateway.inlets.inlet import Inlet
from dicom_gateway.loops import Loop
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.premises import Premises
from dicom_gateway.queries.finding import find_services
from dicom_gateway.queries.indexing import Indexing
from dicom_gateway.queries.retrieval_service import Holdings, retrieval_services
from dicom_gateway.receiving.listener import Listener
from dicom_gateway.receiving.peer_admission import PeerAdmission
from dicom_gateway.results_out import ResultsOut
from dicom_gateway.retention_rounds import RetentionRounds
from dicom_gateway.tls.destination_handshake import DestinationTls
from dicom_gateway.tls.doors import server_doors
from dicom_gateway.tls.expiry_watch import DAY_SECONDS, ExpiryWatch
from dicom_gateway.workitems.service import workitem_services
from storage import associations, delivery_claims, peers, processes
from storage.changes import Changes
from storage.database import Database, utc_now
from storage.errors import StorageError
from storage.objects import ObjectStore
from storage.retention.rules import RetentionSettings
from storage.routes.in_force import RoutesInForce

_LONGEST_WATCH_SECONDS = 60.0
_LAST_OBJECT_SECONDS = 2.0
_ABANDONED_SECONDS = 24 * 3600.0

logger = structlog.get_logger(__name__)


class Gateway:
    """Everything between oncue and its DICOM peers.

    ``equipment`` is what it calls itself in the objects that it writes; ``routes`` are by default the settings';
    ``query_address`` says where senders answer queries; ``retention`` has nothing deleted by default. RoutesInvalid
    where the file of routes is wrong, CertificateUnusable where a file that TLS listeners need is. One that
    ``only_receives`` leaves assembly, reports, deliveries and retention to another process.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        database: Database,
        objects: ObjectStore,
        *,
        equipment: Equipment | None = None,
        routes: RoutesInForce | None = None,
        retention: RetentionSettings | None = None,
        query_address: QueryAddress = peers.query_address,
        clock: Callable[[], datetime] = utc_now,
        only_receives: bool = False,
    ) -> None:
        self.process_id = f"gateway-{socket.gethostname()[:32]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        premises = Premises(settings, database, objects, clock, self.process_id, DestinationTls(settings))
        self._premises = premises
        self._stopping = threading.Event()
        self._only_receives = only_receives
        self._changes = Changes(database, poll_seconds=settings.delivery_poll_seconds)
        self._arrivals = Arrivals(premises, routes or RoutesInForce(settings.routes), query_address)
        self._inlet = Inlet(
            database,
            objects,
            settings,
            process_id=f"{self.process_id}-inlet",
            clock=clock,
            on_visit_end=self._arrivals.wake,
        )
        self._folders = FolderWatch(self._inlet, settings)
        self._fetching = FetchRounds(premises, self._inlet)
        self._results = ResultsOut(premises, equipment or Equipment())
        self._announcing = AnnouncementRounds(premises)
        vouching = Vouching(database, objects, settings.aet, clock)
        self._commitment = StorageCommitment(
            database, vouching, premises.tls, clock, slowest_seconds=premises.slowest_seconds
        )
        self._admission = PeerAdmission(database, settings, clock)
        self._listener = self._made_listener()
        self._indexing = Indexing(database, objects, waiting=lambda: self._listener.waiting_images)
        self._holdings = Loop("holdings", self._indexing.read_due, seconds=premises.slowest_seconds)
        self._heartbeat = Loop("heartbeat", self._beat, seconds=processes.BEAT_SECONDS)
        self._watch = Loop("changes", self._watch_changes, seconds=_LONGEST_WATCH_SECONDS)
        self._upkeep = _upkeep_loops(premises, retention or RetentionSettings())

    @property
    def port(self) -> int:
        """Port of the plain listener."""
        return self._listener.port

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port that is listened on: the plain one, then those of ``listeners`` in their order."""
        return self._listener.ports

    def start(self) -> None:
        """Record this process, open the ports and begin all loops.

        Raises StorageError where the database is not there, ConfigurationError where a port cannot be had.
        """
        clock, objects = self._premises.clock, self._premises.objects
        objects.prepare()
        swept = objects.sweep(older_than_seconds=_ABANDONED_SECONDS, now=clock())
        if swept:
            logger.info("gateway.swept", files=swept)
        with self._premises.database.write() as session:
            processes.start(session, self.process_id, "gateway", now=clock())
            associations.close_lost(session, now=clock())
        self._admission.start()
        self._listener.start()
        if not self._only_receives:
            self._inlet.start()
            self._folders.start()
        for loop in (self._heartbeat, *self._working_loops()):
            loop.start()

    def stop(self) -> None:
        """Stop receiving, let what is open finish, end the loops, and record the end."""
        self._stopping.set()
        self._commitment.stop_waiting()
        for loop in self._working_loops():
            loop.stop()
        self._indexing.stop()
        self._results.close()
        self._announcing.close()
        self._folders.stop()
        self._fetching.close()
        self._listener.stop()
        self._admission.stop()
        self._heartbeat.stop()
        for loop in (self._heartbeat, *self._working_loops()):
            loop.join()
        for sending in (self._results, self._announcing, self._fetching):
            sending.join(_LAST_OBJECT_SECONDS)
        if not self._only_receives:
            self._folders.join()
            self._inlet.stop()
        self._changes.close()
        try:
            with self._premises.database.write() as session:
                processes.stop(session, self.process_id, now=self._premises.clock())
        except StorageError as error:
            logger.warning("gateway.end_not_recorded", code=error.code)

    def drain(self, seconds: float) -> bool:
        """Wait until every image that was acknowledged is on record, and say whether it is."""
        return self._listener.drain(seconds) and self._inlet.drain(seconds)

    def _working_loops(self) -> tuple[Loop, ...]:
        """Return the loops that end before the listener does; the heartbeat goes on until that is closed."""
        if self._only_receives:
            return ()
        receiving = (*self._arrivals.loops, self._fetching.loop, self._holdings)
        sending = (*self._results.loops, self._announcing.loop, *self._commitment.loops)
        return *receiving, *sending, self._watch, *self._upkeep

    def _watch_changes(self) -> float:
        """Wait until anybody commits, an analysis for one, and have the results looked at."""
        if self._changes.wait(self._stopping, _LONGEST_WATCH_SECONDS):
            self._results.wake()
            self._announcing.loop.wake()
            self._commitment.wake()
            self._holdings.wake()
            if self._premises.settings.processes > 1:
                self._arrivals.wake()  # an association may have ended in another process
        return 0.0

    def _beat(self) -> None:
        clock = self._premises.clock
        with self._premises.database.write() as session:
            processes.beat(session, self.process_id, now=clock())
            associations.close_lost(session, now=clock())
            left_behind = delivery_claims.end_lost(session, now=clock())
        if left_behind:
            self._results.wake_delivery()

    def _made_listener(self) -> Listener:
        """Return the listener with every service that peers may ask for."""
        premises = self._premises
        settings, database, clock = premises.settings, premises.database, premises.clock
        holdings = Holdings(database, premises.objects, settings, clock)
        return Listener(
            settings,
            database,
            premises.objects,
            process_id=self.process_id,
            clock=clock,
            admission=self._admission,
            on_association_end=self._arrivals.wake,
            doors=server_doors(settings),
            data_set_services={
                **workitem_services(database, clock),
                **find_services(database, settings.aet, clock),
                **retrieval_services(holdings, premises.timeouts, premises.tls),
                **self._commitment.services(),
            },
        )


def _upkeep_loops(premises: Premises, retention: RetentionSettings) -> tuple[Loop, ...]:
    """Return the loops that look at certificates and delete by the rules."""
    expiry = ExpiryWatch(premises.settings, premises.clock)
    rounds = RetentionRounds(
        retention, premises.database, premises.objects, owner=premises.process_id, clock=premises.clock
    )
    return (
        Loop("certificates", expiry.look, seconds=DAY_SECONDS),
        Loop("retention", rounds.run, seconds=retention.every_seconds),
    )
