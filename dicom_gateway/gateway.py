"""The gateway process: listener, assembly, delivery and heartbeat, put together, started and stopped."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable
from datetime import datetime
from random import SystemRandom

import structlog

from dicom_gateway.announcing.announcer import Announcer, AnnouncingTerms
from dicom_gateway.announcing.senders import Senders
from dicom_gateway.commitment.both_ways import StorageCommitment
from dicom_gateway.commitment.service import Vouching
from dicom_gateway.completeness.assembly import Assembly, Stored
from dicom_gateway.completeness.rules import EARLY, Rules
from dicom_gateway.completeness.source_questions import SourceQuestions
from dicom_gateway.completeness.sources import QueryAddress, Sources
from dicom_gateway.config import GatewaySettings
from dicom_gateway.fetching.clients import SourceClients
from dicom_gateway.fetching.fetcher import Fetcher, FetchTerms
from dicom_gateway.inlets.folder_watch import FolderWatch
from dicom_gateway.inlets.inlet import Inlet
from dicom_gateway.loops import Loop
from dicom_gateway.negotiator import Negotiator
from dicom_gateway.notice_writer import NoticeWriter
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.queries.finding import find_services
from dicom_gateway.queries.indexing import Indexing
from dicom_gateway.queries.retrieval_service import Holdings, retrieval_services
from dicom_gateway.receivers import receivers
from dicom_gateway.receiving.listener import Listener
from dicom_gateway.receiving.peer_admission import PeerAdmission
from dicom_gateway.rejection_writer import RejectionWriter
from dicom_gateway.report_writer import ReportWriter
from dicom_gateway.retention_rounds import RetentionRounds
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.delivery import Dispatch, Dispatcher
from dicom_gateway.sending.delivery_batch import Caller
from dicom_gateway.sending.negotiation import Question
from dicom_gateway.tls.destination_handshake import DestinationTls
from dicom_gateway.tls.doors import server_doors
from dicom_gateway.tls.expiry_watch import DAY_SECONDS, ExpiryWatch
from dicom_gateway.workitems.descriptions import WorkitemDescriptions
from dicom_gateway.workitems.service import workitem_services
from storage import associations, delivery_claims, peers, processes
from storage.changes import Changes
from storage.database import Database, utc_now
from storage.errors import StorageError
from storage.objects import ObjectStore
from storage.retention.rules import RetentionSettings
from storage.routes.in_force import RoutesInForce

_SLOWEST_ASSEMBLY_SECONDS = 5.0
_POLLS_PER_ROUND = 10
_LONGEST_WATCH_SECONDS = 60.0
_LAST_OBJECT_SECONDS = 2.0
_ABANDONED_SECONDS = 24 * 3600.0
_LIST_SECONDS = 30.0
_FETCHING_SECONDS = 5.0

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
        self._database = database
        self._objects = objects
        self._clock = clock
        self._stopping = threading.Event()
        self._only_receives = only_receives
        self._has_others = settings.processes > 1
        equipment = equipment or Equipment()
        tls = DestinationTls(settings)
        question = Question(settings.aet, _patience(settings), tls)
        negotiator = Negotiator(database, question, clock)
        self._writer = ReportWriter(database, objects, equipment, settings.destinations, negotiator, clock)
        self._rejections = RejectionWriter(database, objects, equipment, settings.reject_superseded, clock)
        self._notices = NoticeWriter(database, objects, equipment, clock)
        self._workitems = WorkitemDescriptions(database, objects, clock)
        deliver_now = threading.Event()
        self._dispatcher = Dispatcher(
            database,
            objects,
            Dispatch(self.process_id, settings.delivery_lease_seconds, clock, SystemRandom().random),
            Caller(settings.aet, _patience(settings), tls),
            lambda session: receivers(session, settings),
            on_free=deliver_now.set,
        )
        announce_now = threading.Event()
        self._announcer = Announcer(
            database,
            objects,
            _announcing_terms(settings, self.process_id, clock),
            Senders(tls),
            on_free=announce_now.set,
        )
        self._inlet = Inlet(
            database, objects, settings, process_id=f"{self.process_id}-inlet", clock=clock, on_visit_end=self._assemble
        )
        fetch_now = threading.Event()
        self._fetcher = Fetcher(
            database,
            SourceClients(settings.aet, max(settings.source_seconds, _LIST_SECONDS), tls, self._inlet).client,
            FetchTerms(self.process_id, clock, SystemRandom().random),
            on_free=fetch_now.set,
        )
        self._fetching = Loop("fetching", self._fetcher.run_due, seconds=_FETCHING_SECONDS, woken=fetch_now)
        self._changes = Changes(database, poll_seconds=settings.delivery_poll_seconds)
        # Every loop is woken when there is something for it to do; this is the time for what nobody tells of.
        slowest = settings.delivery_poll_seconds * _POLLS_PER_ROUND
        self._heartbeat = Loop("heartbeat", self._beat, seconds=processes.BEAT_SECONDS)
        routes = routes or RoutesInForce(settings.routes)
        rules = Rules.of(settings)
        sources = Sources(query_address, calling_aet=settings.aet, seconds=settings.source_seconds, tls=tls)
        self._assembly = _assembly_loop(rules, Assembly(Stored(database, objects, routes), rules, sources, clock))
        questions = SourceQuestions(database, rules, sources, clock, on_answer=self._assembly.wake)
        self._sources = Loop("sources", questions.ask_due, seconds=_slowest_look(rules))
        self._negotiations = Loop("negotiations", negotiator.ask_due, seconds=slowest)
        self._reports = Loop("reports", self._write_reports, seconds=slowest)
        self._delivery = Loop("delivery", self._dispatcher.send_due, seconds=slowest, woken=deliver_now)
        poll_seconds = settings.announcing_poll_seconds
        self._announcing = Loop("announcements", self._announcer.send_due, seconds=poll_seconds, woken=announce_now)
        self._expiry = Loop("certificates", ExpiryWatch(settings, clock).look, seconds=DAY_SECONDS)
        retention = retention or RetentionSettings()
        rounds = RetentionRounds(retention, database, objects, owner=self.process_id, clock=clock)
        self._retention = Loop("retention", rounds.run, seconds=retention.every_seconds)
        vouching = Vouching(database, objects, settings.aet, clock)
        self._commitment = StorageCommitment(database, vouching, tls, clock, slowest_seconds=slowest)
        self._watch = Loop("changes", self._watch_changes, seconds=_LONGEST_WATCH_SECONDS)
        self._folders = FolderWatch(self._inlet, settings)
        self._admission = PeerAdmission(database, settings, clock)
        self._listener = Listener(
            settings,
            database,
            objects,
            process_id=self.process_id,
            clock=clock,
            admission=self._admission,
            on_association_end=self._assembly.wake,
            doors=server_doors(settings),
            data_set_services={
                **workitem_services(database, clock),
                **find_services(database, settings.aet, clock),
                **retrieval_services(Holdings(database, objects, settings, clock), _patience(settings), tls),
                **self._commitment.services(),
            },
        )
        self._indexing = Indexing(database, objects, waiting=lambda: self._listener.waiting_images)
        self._holdings = Loop("holdings", self._indexing.read_due, seconds=slowest)

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
        self._objects.prepare()
        swept = self._objects.sweep(older_than_seconds=_ABANDONED_SECONDS, now=self._clock())
        if swept:
            logger.info("gateway.swept", files=swept)
        with self._database.write() as session:
            processes.start(session, self.process_id, "gateway", now=self._clock())
            associations.close_lost(session, now=self._clock())
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
        self._dispatcher.close()
        self._announcer.close()
        self._folders.stop()
        self._fetcher.close()
        self._listener.stop()
        self._admission.stop()
        self._heartbeat.stop()
        for loop in (self._heartbeat, *self._working_loops()):
            loop.join()
        self._dispatcher.join(_LAST_OBJECT_SECONDS)
        self._announcer.join(_LAST_OBJECT_SECONDS)
        self._fetcher.join(_LAST_OBJECT_SECONDS)
        if not self._only_receives:
            self._folders.join()
            self._inlet.stop()
        self._changes.close()
        try:
            with self._database.write() as session:
                processes.stop(session, self.process_id, now=self._clock())
        except StorageError as error:
            logger.warning("gateway.end_not_recorded", code=error.code)

    def drain(self, seconds: float) -> bool:
        """Wait until every image that was acknowledged is on record, and say whether it is."""
        return self._listener.drain(seconds) and self._inlet.drain(seconds)

    def _working_loops(self) -> tuple[Loop, ...]:
        """Return the loops that end before the listener does; the heartbeat goes on until that is closed."""
        if self._only_receives:
            return ()
        results = (self._negotiations, self._reports, self._delivery, self._announcing)
        holdings = (*self._commitment.loops, self._fetching, self._holdings)
        return self._assembly, self._sources, *results, *holdings, self._watch, self._expiry, self._retention

    def _watch_changes(self) -> float:
        """Wait until anybody commits, an analysis for one, and have the results looked at."""
        if self._changes.wait(self._stopping, _LONGEST_WATCH_SECONDS):
            self._reports.wake()
            self._delivery.wake()
            self._announcing.wake()
            self._commitment.wake()
            self._holdings.wake()
            if self._has_others:
                self._assembly.wake()  # an association may have ended in another process
        return 0.0

    def _assemble(self) -> None:
        self._assembly.wake()

    def _write_reports(self) -> None:
        self._workitems.write_due()
        if self._writer.write_due() + self._rejections.write_due() + self._notices.write_due():
            self._delivery.wake()

    def _beat(self) -> None:
        with self._database.write() as session:
            processes.beat(session, self.process_id, now=self._clock())
            associations.close_lost(session, now=self._clock())
            left_behind = delivery_claims.end_lost(session, now=self._clock())
        if left_behind:
            self._delivery.wake()


def _assembly_loop(rules: Rules, assembly: Assembly) -> Loop:
    return Loop("assembly", assembly.close_complete, seconds=_slowest_look(rules))


def _slowest_look(rules: Rules) -> float:
    # No longer than half of what a study must be quiet, so one that is new has its time noted before it can be due.
    return min(rules.shortest_quiet_seconds * EARLY, _SLOWEST_ASSEMBLY_SECONDS)


def _announcing_terms(settings: GatewaySettings, owner: str, clock: Callable[[], datetime]) -> AnnouncingTerms:
    return AnnouncingTerms(
        owner=owner,
        lease_seconds=settings.announcing_lease_seconds,
        seconds=settings.announcing_seconds,
        console_url=settings.announcing_console_url,
        clock=clock,
        draw=SystemRandom().random,
    )


def _patience(settings: GatewaySettings) -> PeerTimeouts:
    return PeerTimeouts(
        connect_seconds=settings.connect_seconds,
        associate_seconds=settings.acse_seconds,
        answer_seconds=settings.answer_seconds,
    )
