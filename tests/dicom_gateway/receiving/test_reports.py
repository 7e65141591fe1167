"""Reports of ours that follow the last response over an association that the peer opened, and its reports to us."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from dicom_gateway.protocol.exchange import (
    Conversation,
    Request,
    Response,
)
from storage import peers
from storage.database import Database, utc_now
from storage.objects import ObjectStore
from storage.peers import Service
from tests.support.conversations import (
    COMMITMENT,
    GET,
    JOBS,
    TAKES_CT,
    Site,
    followed_by_report,
    report,
    running_site,
    sending,
    until_last,
)
from tests.support.conversing_peer import (
    ACTION_RQ,
    EVENT_RQ,
    EVENT_TYPE,
    FIELD,
    GET_RQ,
    RESPONSE,
    STATUS,
    STORE_RQ,
    ConversingPeer,
    role,
)
from tests.support.pdus import CT_IMAGE, EXPLICIT, IMPLICIT, VERIFICATION, element

pytestmark = pytest.mark.slow


@pytest.fixture
def site(sqlite_database: Database, objects: ObjectStore) -> Iterator[Site]:
    with running_site(sqlite_database, objects, *Service) as running:
        yield running


def test_a_report_follows_the_last_response(site: Site) -> None:
    told: list[int] = []
    site.commitment.says = followed_by_report(told)
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
    site.commitment.says = followed_by_report(told)
    with ConversingPeer(site.port, [COMMITMENT]) as peer:
        peer.request(ACTION_RQ, COMMITMENT, b"transaction")
        peer.read()
        peer.read()
        assert peer.release()
    assert site.commitment.ended.wait(10)
    assert told == []


def test_a_request_that_comes_before_the_answer_to_a_report_is_served_first(site: Site) -> None:
    told: list[int] = []
    site.commitment.says = followed_by_report(told)
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
    site.commitment.says, site.retrieval.says = followed_by_report(told), sending(answers, count=1)
    with ConversingPeer(site.port, [COMMITMENT, GET, (CT_IMAGE, EXPLICIT)], TAKES_CT) as peer:
        peer.request(ACTION_RQ, COMMITMENT, b"transaction")
        peer.read()
        asked = peer.read()
        peer.request(GET_RQ, GET, b"identifier", context_id=3)
        peer.answer(asked)
        stored = peer.read()
        assert stored.number(FIELD) == STORE_RQ
        peer.answer(stored)
        assert until_last(peer).number(STATUS) == 0
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


def test_a_peer_that_is_blocked_meanwhile_is_refused_on_its_open_association(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with running_site(sqlite_database, objects, *Service) as site:
        site.commitment.says = followed_by_report([])
        with ConversingPeer(site.port, [COMMITMENT]) as peer:
            with sqlite_database.write() as session:
                peers.set_allowed(session, "pacs", allowed=False, actor="test", now=utc_now())
            site.admission.refresh()
            peer.request(ACTION_RQ, COMMITMENT, b"transaction")
            assert peer.read().number(STATUS) == 0x0124
    assert site.commitment.seen == []


def test_pynetdicom_takes_images_and_reports_over_its_own_association(site: Site) -> None:
    told: list[int] = []
    site.commitment.says, site.retrieval.says = followed_by_report(told), sending([])
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
