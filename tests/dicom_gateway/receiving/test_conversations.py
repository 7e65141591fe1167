"""Roles that a peer asks for, and requests of ours over the association that it opened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

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
    ACTION_RQ,
    COMPLETED,
    EVENT_RQ,
    EVENT_TYPE,
    FAILED,
    FIELD,
    GET_RQ,
    MESSAGE_ID,
    REMAINING,
    RESPONDS_TO,
    RESPONSE,
    STATUS,
    STORE_RQ,
    ConversingPeer,
    Message,
    role,
)
from tests.support.pdus import CT_IMAGE, EXPLICIT, IMPLICIT, VERIFICATION, element

GET = "1.2.840.10008.5.1.4.1.2.2.3"
COMMITMENT = "1.2.840.10008.1.20.1"
JOBS = "1.2.840.10008.1.20.1.1"
TAKES_CT = role(CT_IMAGE, scu=0, scp=1)
PENDING, CANCELED = 0xFF00, 0xFE00

pytestmark = pytest.mark.slow


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


@pytest.fixture
def site(sqlite_database: Database, objects: ObjectStore) -> Iterator[Site]:
    with running_site(sqlite_database, objects, *Service) as running:
        yield running


@contextmanager
def retrieving(site: Site, *, maximum_length: int = 16384) -> Iterator[ConversingPeer]:
    with ConversingPeer(site.port, [GET, (CT_IMAGE, EXPLICIT)], TAKES_CT, maximum_length=maximum_length) as peer:
        yield peer


def image(number: int, data_set: bytes | FileDataSet = b"pixels") -> PeerRequest:
    return PeerRequest(CommandField.C_STORE_RQ, CT_IMAGE, EXPLICIT, f"1.2.{number}", data_set)


def report(uid: str = "1.2.3") -> PeerRequest:
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


def test_images_go_out_in_the_middle_of_a_request_and_each_is_answered(site: Site) -> None:
    answers: list[int] = []
    site.retrieval.says = sending(answers)
    with retrieving(site) as peer:
        peer.request(GET_RQ, GET, b"identifier")
        for status in (0x0000, 0xB000):
            asked = peer.read()
            assert (asked.context_id, asked.number(FIELD), asked.data_set) == (3, STORE_RQ, b"pixels")
            assert asked.uid(0x0002) == CT_IMAGE
            peer.answer(asked, status)
            pending = peer.read()
            assert pending.number(STATUS) == PENDING
        assert (pending.number(REMAINING), pending.number(COMPLETED), pending.number(FAILED)) == (0, 2, 0)
        last = peer.read()
        assert (last.context_id, last.number(FIELD), last.number(RESPONDS_TO)) == (1, GET_RQ | RESPONSE, 7)
        assert (last.number(STATUS), last.number(REMAINING), last.number(COMPLETED)) == (0, None, 2)
        assert peer.release()
    assert answers == [0x0000, 0xB000]
    assert site.retrieval.seen[0].takes == {(CT_IMAGE, EXPLICIT)}


def test_each_request_of_ours_has_a_message_id_of_its_own(site: Site) -> None:
    site.retrieval.says = sending([], count=3)
    found = []
    with retrieving(site) as peer:
        peer.request(GET_RQ, GET, b"identifier")
        for _ in range(3):
            asked = peer.read()
            found.append(asked.number(MESSAGE_ID))
            peer.answer(asked)
            peer.read()
    assert len(set(found)) == 3


@pytest.mark.parametrize("maximum_length", [64, 16384, 0])
def test_a_file_goes_out_from_where_its_data_set_begins(site: Site, tmp_path: Path, maximum_length: int) -> None:
    content = bytes(range(256)) * 512
    file = tmp_path / "object"
    file.write_bytes(b"head" + content)

    def says(_: Request) -> Conversation:
        yield image(1, FileDataSet(file, 4))
        yield Response(0)

    site.retrieval.says = says
    with retrieving(site, maximum_length=maximum_length) as peer:
        peer.request(GET_RQ, GET, b"identifier")
        asked = peer.read()
        assert asked.data_set == content
        peer.answer(asked)
        assert peer.read().number(STATUS) == 0


def test_a_file_that_is_gone_is_no_fault_of_the_association(site: Site, tmp_path: Path) -> None:
    def says(_: Request) -> Conversation:
        try:
            yield image(1, FileDataSet(tmp_path / "gone", 0))
        except FileNotFoundError:
            yield Response(0xB000)

    site.retrieval.says = says
    with retrieving(site) as peer:
        peer.request(GET_RQ, GET, b"identifier")
        assert peer.read().number(STATUS) == 0xB000
        assert peer.release()


@pytest.mark.parametrize("is_asked_meanwhile", [False, True], ids=["between", "while an image is out"])
def test_a_cancel_ends_it_with_what_was_done_until_then(site: Site, is_asked_meanwhile: bool) -> None:
    answers: list[int] = []
    site.retrieval.says = sending(answers, count=1000)
    with retrieving(site) as peer:
        peer.request(GET_RQ, GET, b"identifier")
        asked = peer.read()
        if is_asked_meanwhile:
            peer.cancel()
        peer.answer(asked)
        if not is_asked_meanwhile:
            peer.cancel()
        last = _until_last(peer)
        done = len(answers)
        assert (last.number(STATUS), last.number(COMPLETED), last.number(REMAINING)) == (CANCELED, done, 1000 - done)
        assert 1 <= done < 1000
        assert site.retrieval.ended.wait(10)
        assert peer.release()


def test_a_service_that_knows_of_no_cancel_is_ended_by_it_all_the_same(site: Site) -> None:
    def says(_: Request) -> Conversation:
        yield image(1)
        yield Response(0)

    site.retrieval.says = says
    with retrieving(site) as peer:
        peer.request(GET_RQ, GET, b"identifier")
        asked = peer.read()
        peer.cancel(message_id=8)  # of nothing
        peer.cancel()
        peer.answer(asked)
        # The only image is answered, so there is nothing left to cancel.
        assert peer.read().number(STATUS) == 0


@pytest.mark.parametrize(
    "lies",
    [{"responds_to": 4711}, {"field": GET_RQ | RESPONSE}, {"context_id": 1}],
    ids=["another message", "another operation", "another context"],
)
def test_an_answer_to_nothing_that_was_asked_is_an_abort(site: Site, lies: dict[str, int]) -> None:
    site.retrieval.says = sending([])
    with retrieving(site) as peer:
        peer.request(GET_RQ, GET, b"identifier")
        peer.answer(peer.read(), **lies)
        assert peer.is_aborted()
    assert site.retrieval.ended.wait(10)


def test_an_answer_that_comes_twice_is_an_abort(site: Site) -> None:
    site.retrieval.says = sending([], count=1)
    with retrieving(site) as peer:
        peer.request(GET_RQ, GET, b"identifier")
        asked = peer.read()
        peer.answer(asked)
        peer.answer(asked)
        with pytest.raises(ConnectionError, match="PDU type 7"):
            _until_last(peer)


def test_a_peer_that_goes_on_asking_before_it_answers_is_aborted(site: Site) -> None:
    site.retrieval.says = sending([])
    with retrieving(site) as peer:
        peer.request(GET_RQ, GET, b"identifier")
        peer.read()
        peer.request(GET_RQ, GET, b"identifier")
        assert peer.is_aborted()


@pytest.mark.parametrize("is_chatting", [False, True], ids=["silent", "with other words"])
def test_a_peer_that_never_answers_is_aborted_in_time(
    sqlite_database: Database, objects: ObjectStore, is_chatting: bool
) -> None:
    with running_site(sqlite_database, objects, *Service, seconds=1) as site:
        site.retrieval.says = sending([])
        with retrieving(site) as peer:
            peer.request(GET_RQ, GET, b"identifier")
            peer.read()
            stop = threading.Event()
            chatter = threading.Thread(target=_chat, args=(peer, stop))
            if is_chatting:
                chatter.start()
            begun = time.monotonic()
            assert peer.is_aborted()
            assert time.monotonic() - begun < 10
            stop.set()
            if is_chatting:
                chatter.join()
        assert site.retrieval.ended.wait(10)


@pytest.mark.parametrize("is_released", [True, False], ids=["released", "closed"])
def test_a_service_ends_where_the_peer_leaves_in_the_middle(site: Site, is_released: bool) -> None:
    site.retrieval.says = sending([])
    with retrieving(site) as peer:
        peer.request(GET_RQ, GET, b"identifier")
        peer.read()
        if is_released:
            assert peer.release()
    assert site.retrieval.ended.wait(10)


def _followed_by_report(told: list[int]) -> Callable[[Request], Conversation]:
    def says(_: Request) -> Conversation:
        yield Response(0)
        answer = yield report()
        assert isinstance(answer, PeerAnswer)
        told.append(answer.status)

    return says


def test_a_report_follows_the_last_response(site: Site) -> None:
    told: list[int] = []
    site.commitment.says = _followed_by_report(told)
    with ConversingPeer(site.port, [COMMITMENT]) as peer:
        peer.request(ACTION_RQ, COMMITMENT, b"transaction", more=element(0x1008, b"\1\0"))
        assert peer.read().number(STATUS) == 0
        asked = peer.read()
        assert (asked.number(FIELD), asked.number(EVENT_TYPE), asked.data_set) == (EVENT_RQ, 1, b"report")
        assert (asked.uid(0x0002), asked.uid(0x1000)) == (COMMITMENT, "1.2.3")
        peer.answer(asked, 0x0110)
        assert site.commitment.ended.wait(10)
        assert peer.release()
    assert told == [0x0110]


def test_a_peer_that_releases_instead_of_taking_the_report_ends_the_service(site: Site) -> None:
    told: list[int] = []
    site.commitment.says = _followed_by_report(told)
    with ConversingPeer(site.port, [COMMITMENT]) as peer:
        peer.request(ACTION_RQ, COMMITMENT, b"transaction")
        peer.read()
        peer.read()
        assert peer.release()
    assert site.commitment.ended.wait(10)
    assert told == []


def test_a_request_that_comes_before_the_answer_to_a_report_is_served_first(site: Site) -> None:
    told: list[int] = []
    site.commitment.says = _followed_by_report(told)
    with ConversingPeer(site.port, [COMMITMENT, VERIFICATION]) as peer:
        peer.request(ACTION_RQ, COMMITMENT, b"transaction")
        peer.read()
        asked = peer.read()
        peer.request(0x0030, VERIFICATION, context_id=3)
        assert peer.read().number(FIELD) == 0x8030
        peer.request(ACTION_RQ, COMMITMENT, b"transaction")
        assert peer.read().number(FIELD) == ACTION_RQ | RESPONSE
        peer.answer(asked)
        second = peer.read()  # not before the first one was answered
        assert second.number(FIELD) == EVENT_RQ
        peer.answer(second)
        peer.request(0x0030, VERIFICATION, context_id=3)
        peer.read()
    assert told == [0, 0]


def test_a_retrieval_waits_with_its_images_for_the_answer_to_a_report(site: Site) -> None:
    told, answers = list[int](), list[int]()
    site.commitment.says, site.retrieval.says = _followed_by_report(told), sending(answers, count=1)
    with ConversingPeer(site.port, [COMMITMENT, GET, (CT_IMAGE, EXPLICIT)], TAKES_CT) as peer:
        peer.request(ACTION_RQ, COMMITMENT, b"transaction")
        peer.read()
        asked = peer.read()
        peer.request(GET_RQ, GET, b"identifier", context_id=3)
        peer.answer(asked)
        stored = peer.read()
        assert stored.number(FIELD) == STORE_RQ
        peer.answer(stored)
        assert _until_last(peer).number(STATUS) == 0
    assert (told, answers) == ([0], [0])


def test_reports_that_nobody_takes_are_not_kept_without_end(site: Site) -> None:
    open_services = []

    def says(_: Request) -> Conversation:
        open_services.append(1)
        try:
            yield Response(0)
            yield report()
        finally:
            open_services.pop()

    site.commitment.says = says
    with ConversingPeer(site.port, [COMMITMENT]) as peer:
        for _ in range(100):
            peer.request(ACTION_RQ, COMMITMENT, b"transaction")
            while peer.read().number(FIELD) != ACTION_RQ | RESPONSE:
                pass
        assert len(open_services) < 20


def test_a_peer_reports_to_us_over_an_association_of_reversed_roles(site: Site) -> None:
    def says(request: Request) -> Conversation:
        assert request.command.event_type == 2
        yield Response(0)

    site.commitment.says = says
    with ConversingPeer(site.port, [COMMITMENT], role(COMMITMENT, scu=0, scp=1)) as peer:
        assert peer.roles() == {COMMITMENT: (0, 1)}
        more = element(0x1000, b"1.2.840.10008.1.20.1.1") + element(EVENT_TYPE, b"\2\0")
        peer.request(EVENT_RQ, COMMITMENT, b"report", more=more)
        answer = peer.read()
        assert (answer.number(STATUS), answer.number(EVENT_TYPE)) == (0, 2)
    assert site.commitment.seen[0].takes == {(COMMITMENT, IMPLICIT)}
    assert site.commitment.seen[0].command.sop_instance_uid == JOBS


@pytest.mark.parametrize(
    ("services", "answered", "results"),
    [
        (tuple(Service), {CT_IMAGE: (0, 1), COMMITMENT: (1, 1), VERIFICATION: (1, 0)}, [0, 0, 0]),
        ((Service.STORAGE, Service.VERIFICATION), {CT_IMAGE: (0, 0), VERIFICATION: (1, 0)}, [0, 1, 0]),
        ((Service.RETRIEVAL,), {CT_IMAGE: (0, 1)}, [0, 1, 1]),
        ((Service.COMMITMENT,), {COMMITMENT: (1, 1)}, [1, 0, 1]),
    ],
    ids=["all", "store", "get", "commit"],
)  # fmt: skip # reads by its lines
def test_a_peer_has_the_role_of_the_scp_where_its_entry_allows_what_that_is_for(
    sqlite_database: Database,
    objects: ObjectStore,
    services: tuple[Service, ...],
    answered: dict[str, tuple[int, int]],
    results: list[int],
) -> None:
    asked = role(COMMITMENT, scu=1, scp=1), role(VERIFICATION, scu=1, scp=1), role("1.2.3.4", scu=1, scp=1)
    with (
        running_site(sqlite_database, objects, *services) as site,
        ConversingPeer(site.port, [CT_IMAGE, COMMITMENT, VERIFICATION], TAKES_CT, *asked) as peer,
    ):
        assert (peer.roles(), peer.context_results()) == (answered, results)


def test_a_peer_that_is_blocked_meanwhile_is_refused_on_its_open_association(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with running_site(sqlite_database, objects, *Service) as site:
        site.commitment.says = _followed_by_report([])
        with ConversingPeer(site.port, [COMMITMENT]) as peer:
            with sqlite_database.write() as session:
                peers.set_allowed(session, "pacs", allowed=False, actor="test", now=utc_now())
            site.admission.refresh()
            peer.request(ACTION_RQ, COMMITMENT, b"transaction")
            assert peer.read().number(STATUS) == 0x0124
    assert site.commitment.seen == []


def test_a_peer_that_may_only_retrieve_stores_nothing(sqlite_database: Database, objects: ObjectStore) -> None:
    with (
        running_site(sqlite_database, objects, Service.RETRIEVAL) as site,
        ConversingPeer(site.port, [CT_IMAGE], TAKES_CT) as peer,
    ):
        peer.request(STORE_RQ, CT_IMAGE, b"pixels", more=element(0x1000, b"1.2.3\0"))
        assert peer.read().number(STATUS) == 0x0122


def test_pynetdicom_takes_images_and_reports_over_its_own_association(site: Site) -> None:
    told: list[int] = []
    site.commitment.says, site.retrieval.says = _followed_by_report(told), sending([])
    reported = threading.Event()

    def on_report(_: evt.Event) -> tuple[int, None]:
        reported.set()
        return 0x0000, None

    client = AE(ae_title="PACS")
    for uid, syntax in ((GET, IMPLICIT), (COMMITMENT, IMPLICIT), (CT_IMAGE, EXPLICIT)):
        client.add_requested_context(uid, syntax)
    scp = SCP_SCU_RoleSelectionNegotiation()
    scp.sop_class_uid, scp.scu_role, scp.scp_role = CT_IMAGE, False, True
    handlers = [(evt.EVT_C_STORE, lambda _: 0x0000), (evt.EVT_N_EVENT_REPORT, on_report)]
    opened = client.associate(
        "127.0.0.1",
        site.port,
        ae_title="ONCUE",
        ext_neg=[scp],
        evt_handlers=handlers,  # type: ignore[arg-type]  # its own
    )
    assert opened.is_established
    keys = Dataset()
    keys.QueryRetrieveLevel = "STUDY"
    *_, (last, _) = opened.send_c_get(keys, GET)
    assert (last.Status, last.NumberOfCompletedSuboperations) == (0x0000, 2)
    status, _ = opened.send_n_action(keys, 1, COMMITMENT, JOBS)
    assert status.Status == 0x0000
    assert reported.wait(10)
    opened.release()
    assert site.commitment.ended.wait(10)
    assert told == [0x0000]


def _until_last(peer: ConversingPeer) -> Message:
    """Answer images until the last response comes."""
    while True:
        message = peer.read()
        if message.number(FIELD) == STORE_RQ:
            peer.answer(message)
        elif message.number(STATUS) != PENDING:
            return message


def _chat(peer: ConversingPeer, stop: threading.Event) -> None:
    """Cancel requests that never were, again and again."""
    while not stop.wait(0.05):
        try:
            peer.cancel(message_id=4711)
        except OSError:
            return
