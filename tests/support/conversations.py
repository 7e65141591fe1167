"""A listener whose services say what a test has them say, also requests of ours to the peer that asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import RequestCanceled
from dicom_gateway.protocol.commands import CommandField, SubOperations
from dicom_gateway.protocol.exchange import (
    Conversation,
    FileDataSet,
    PeerAnswer,
    PeerRequest,
    Request,
    Response,
)
from dicom_gateway.receiving.listener import Listener
from dicom_gateway.receiving.peer_admission import PeerAdmission
from storage import peers, processes
from storage.database import Database, utc_now
from storage.objects import ObjectStore
from storage.peers import PeerEntry, Service
from tests.support.conversing_peer import (
    FIELD,
    STATUS,
    STORE_RQ,
    ConversingPeer,
    Message,
    role,
)
from tests.support.pdus import CT_IMAGE, EXPLICIT, IMPLICIT

GET = "1.2.840.10008.5.1.4.1.2.2.3"
COMMITMENT = "1.2.840.10008.1.20.1"
JOBS = "1.2.840.10008.1.20.1.1"
TAKES_CT = role(CT_IMAGE, scu=0, scp=1)
PENDING, CANCELED = 0xFF00, 0xFE00


@dataclass
class Scripted:
    """A service that says what a test has it say; ``seen`` are its requests, ``ended`` is set when it is over."""

    permission: Service
    longest_data_set_bytes: int = 1 << 20
    says: Callable[[Request], Conversation] | None = None
    seen: list[Request] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def responses(self, request: Request) -> Conversation:
        self.seen.append(request)
        assert self.says is not None
        try:
            yield from self.says(request)
        finally:
            self.ended.set()

    def too_large(self, request: Request) -> Response:
        self.seen.append(request)
        return Response(0xA700)


@dataclass
class Site:
    """A listener with its two services, and what a peer of theirs may do."""

    port: int
    admission: PeerAdmission
    retrieval: Scripted
    commitment: Scripted


@contextmanager
def running_site(database: Database, objects: ObjectStore, *services: Service, seconds: float = 20) -> Iterator[Site]:
    """Run a listener of which the peer PACS may use some services."""
    settings = GatewaySettings(port=0, network_seconds=seconds, drain_seconds=0)
    with database.write() as session:
        entry = PeerEntry("pacs", "PACS", services=frozenset(services))
        peers.add(session, entry, actor="test", now=utc_now())
        processes.start(session, "test", "gateway", now=utc_now())
    admission = PeerAdmission(database, settings, utc_now)
    retrieval, commitment = Scripted(Service.RETRIEVAL), Scripted(Service.COMMITMENT)
    listener = Listener(
        settings,
        database,
        objects,
        process_id="test",
        clock=utc_now,
        admission=admission,
        data_set_services={GET: retrieval, COMMITMENT: commitment},
    )
    objects.prepare()
    listener.start()
    try:
        yield Site(listener.port, admission, retrieval, commitment)
    finally:
        listener.stop()


@contextmanager
def retrieving(site: Site, *, maximum_length: int = 16384) -> Iterator[ConversingPeer]:
    with ConversingPeer(site.port, [GET, (CT_IMAGE, EXPLICIT)], TAKES_CT, maximum_length=maximum_length) as peer:
        yield peer


def image(number: int, data_set: bytes | FileDataSet = b"pixels") -> PeerRequest:
    """Return our request to store an image."""
    return PeerRequest(CommandField.C_STORE_RQ, CT_IMAGE, EXPLICIT, f"1.2.{number}", data_set)


def report(uid: str = "1.2.3") -> PeerRequest:
    """Return our report of a commitment."""
    return PeerRequest(CommandField.N_EVENT_REPORT_RQ, COMMITMENT, IMPLICIT, uid, b"report", event_type=1)


def sending(answers: list[int], count: int = 2) -> Callable[[Request], Conversation]:
    """Return a service that sends some images, notes how each was answered, and counts them at the end."""

    def says(_: Request) -> Conversation:
        try:
            for number in range(count):
                answer = yield image(number)
                assert isinstance(answer, PeerAnswer)
                answers.append(answer.status)
                yield Response(PENDING, sub_operations=SubOperations(count - len(answers), len(answers), 0, 0))
        except RequestCanceled:
            yield Response(CANCELED, sub_operations=SubOperations(count - len(answers), len(answers), 0, 0))
            return
        yield Response(0, sub_operations=SubOperations(None, len(answers), 0, 0))

    return says


def followed_by_report(told: list[int]) -> Callable[[Request], Conversation]:
    """Return a service that reports after its response, and notes how that was answered."""

    def says(_: Request) -> Conversation:
        yield Response(0)
        answer = yield report()
        assert isinstance(answer, PeerAnswer)
        told.append(answer.status)

    return says


def until_last(peer: ConversingPeer) -> Message:
    """Answer images until the last response comes."""
    while True:
        message = peer.read()
        if message.number(FIELD) == STORE_RQ:
            peer.answer(message)
        elif message.number(STATUS) != PENDING:
            return message
