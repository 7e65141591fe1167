"""Roles that a peer asks for, and images of ours over the association that it opened."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_gateway.protocol.exchange import (
    Conversation,
    FileDataSet,
    Request,
    Response,
)
from storage.database import Database
from storage.objects import ObjectStore
from storage.peers import Service
from tests.support.conversations import (
    CANCELED,
    COMMITMENT,
    GET,
    PENDING,
    TAKES_CT,
    Site,
    image,
    retrieving,
    running_site,
    sending,
    until_last,
)
from tests.support.conversing_peer import (
    COMPLETED,
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
    role,
)
from tests.support.pdus import CT_IMAGE, EXPLICIT, VERIFICATION, element

pytestmark = pytest.mark.slow


@pytest.fixture
def site(sqlite_database: Database, objects: ObjectStore) -> Iterator[Site]:
    with running_site(sqlite_database, objects, *Service) as running:
        yield running


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
        last = until_last(peer)
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
            until_last(peer)


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


def test_a_peer_that_may_only_retrieve_stores_nothing(sqlite_database: Database, objects: ObjectStore) -> None:
    with (
        running_site(sqlite_database, objects, Service.RETRIEVAL) as site,
        ConversingPeer(site.port, [CT_IMAGE], TAKES_CT) as peer,
    ):
        peer.request(STORE_RQ, CT_IMAGE, b"pixels", more=element(0x1000, b"1.2.3\0"))
        assert peer.read().number(STATUS) == 0x0122


def _chat(peer: ConversingPeer, stop: threading.Event) -> None:
    """Cancel requests that never were, again and again."""
    while not stop.wait(0.05):
        try:
            peer.cancel(message_id=4711)
        except OSError:
            return
