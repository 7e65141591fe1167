"""What oncue holds, moved by C-MOVE to DCMTK, Orthanc and stations that are slow or refuse."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt

from dicom_gateway.queries.moving import MOST_MOVES
from storage.peers import PeerEntry
from tests.support.conversing_peer import (
    COMPLETED,
    REMAINING,
    STATUS,
    ConversingPeer,
)
from tests.support.gateways import Running, until
from tests.support.pdus import element
from tests.support.peers import dcmtk_storescp, executable, free_port, orthanc, run
from tests.support.retrieval import (
    CANCELED,
    FIRST,
    MOVE,
    NONE_SENT,
    PENDING,
    SECOND,
    SOME_FAILED,
    VIEWER,
    addressed,
    admit,
    get,
    identifier_of,
    is_over,
    last_message,
    move,
    retrieval_site,
    retrievals,
    storing,
    study,
    uids,
)
from tests.support.senders import data_set_bytes, encoded

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Running]:
    with retrieval_site(tmp_path_factory.mktemp("site"), sqlite_template) as running:
        yield running


@pytest.mark.parametrize("damage", ["lost", "changed"])
@pytest.mark.parametrize("way", ["get", "move"])
def test_an_object_that_is_not_there_as_it_was_has_failed_and_the_next_follows(
    site: Running, damage: str, way: str
) -> None:
    came: list[Dataset] = []

    def keep(event: evt.Event) -> int:
        came.append(event.dataset)
        return 0x0000

    (digest,) = (one.digest for one in site.instances() if one.sop_instance_uid == FIRST[0].SOPInstanceUID)
    path = site.objects.path(digest)
    whole = path.read_bytes()
    try:
        path.unlink()
        if damage == "changed":
            path.write_bytes(whole[:-2] + b"\7\7")
        with storing(keep) as port:
            addressed(site, "WS1", port)
            got = get(site, study(FIRST)) if way == "get" else move(site, study(FIRST), "WS1")
    finally:
        path.write_bytes(whole)
    assert (got.status, got.counts) == (SOME_FAILED, (2, 1, 0))
    assert got.identifier is not None
    assert got.identifier.FailedSOPInstanceUIDList == FIRST[0].SOPInstanceUID
    assert uids(got.images or came) == uids(FIRST[1:])


@pytest.mark.parametrize("model", ["-S", "-P"])
def test_dcmtk_has_a_study_moved_to_its_storescp(site: Running, tmp_path: Path, model: str) -> None:
    with dcmtk_storescp(tmp_path, "+xa", ae_title="STORESCP") as scp:
        addressed(site, "STORESCP", scp.port)
        moved = run(
            executable("movescu"), "-v", model, "-aet", VIEWER, "-aec", "ONCUE", "-aem", "STORESCP",
            "-k", "0008,0052=STUDY", "-k", "0010,0020=PATIENT-17", "-k", f"0020,000d={FIRST[0].StudyInstanceUID}",
            "127.0.0.1", str(site.port),
        )  # fmt: skip # a command line
        assert moved.returncode == 0, moved.stdout
        assert {data_set_bytes(path.read_bytes()) for path in scp.files()} == {encoded(image) for image in FIRST}


def test_orthanc_has_a_study_moved_to_itself(site: Running, tmp_path: Path) -> None:
    with orthanc(tmp_path, modalities=[("ONCUE", site.port)]) as peer:
        addressed(site, "ORTHANC", peer.port)
        asked = {"Level": "Study", "Resources": [{"StudyInstanceUID": FIRST[0].StudyInstanceUID}], "Timeout": 30}
        until(lambda: _is_moved(peer.rest, asked), "the entry of Orthanc")
        assert peer.sop_instance_uids() == tuple(sorted(uids(FIRST)))


def _is_moved(rest: Callable[[str, str, bytes], bytes], asked: dict[str, object]) -> bool:
    try:
        rest("POST", "/modalities/ONCUE/move", json.dumps(asked).encode())
    except AssertionError:
        return False
    return True


def test_what_is_moved_says_who_asked_for_it_and_who_gets_it_is_on_record(site: Running) -> None:
    seen: list[tuple[str, int]] = []

    def keep(event: evt.Event) -> int:
        request: Any = event.request
        seen.append((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
        return 0x0000

    with storing(keep) as port:
        addressed(site, "WS1", port)
        got = move(site, study(SECOND), "WS1")
    assert (got.status, got.counts) == (0, (1, 0, 0))
    assert seen == [(VIEWER, 1)]
    assert retrievals(site)[-1] == {"destination": "WS1", "objects": 1}


@pytest.mark.parametrize(
    ("status", "expected", "counts"),
    [(0xB000, SOME_FAILED, (2, 0, 1)), (0xA700, SOME_FAILED, (2, 1, 0)), (None, NONE_SENT, (0, 3, 0))],
    ids=["a warning", "a refusal", "nobody there"],
)  # fmt: skip # reads by its lines
def test_what_the_destination_does_not_take_is_counted(
    site: Running, status: int | None, expected: int, counts: tuple[int, int, int]
) -> None:
    left = [status]
    with storing(lambda _: left.pop() or 0 if left else 0x0000) as port:
        addressed(site, "WS1", free_port() if status is None else port)
        got = move(site, study(FIRST), "WS1")
    assert (got.status, got.counts) == (expected, counts)
    if got.counts[1]:
        assert got.identifier is not None
        failed = got.identifier["FailedSOPInstanceUIDList"]
        assert got.counts[1] == failed.VM


def test_a_destination_that_nobody_knows_is_refused(site: Running) -> None:
    got = move(site, study(FIRST), "NOBODY")
    assert got.status == 0xA801
    admit(site.database, PeerEntry("nobody", "NOBODY", store_address="NOBODY@127.0.0.1:104", allowed=False))
    assert move(site, study(FIRST), "NOBODY").status == 0xA801


def _ask_to_move(peer: ConversingPeer, images: list[Dataset], destination: str = "WS1") -> None:
    """Ask by C-MOVE; the destination stands between message id and data set type."""
    number = {"field": 0x0021, "id": 7, "type": 0x0001}
    elements = (
        element(0x0002, MOVE.encode() + b"\0" * (len(MOVE) % 2)),
        element(0x0100, number["field"].to_bytes(2, "little")),
        element(0x0110, number["id"].to_bytes(2, "little")),
        element(0x0600, destination.encode().ljust(16)),
        element(0x0800, number["type"].to_bytes(2, "little")),
    )
    peer.send(1, elements, identifier_of(images))


@dataclass
class SlowStation:
    """A station that takes no image before it may."""

    may: threading.Event = field(default_factory=threading.Event)
    has_one: threading.Event = field(default_factory=threading.Event)
    taken: list[str] = field(default_factory=list)

    def store(self, event: evt.Event) -> int:
        self.has_one.set()
        self.may.wait(20)
        self.taken.append(event.dataset.SOPInstanceUID)
        return 0x0000


def test_a_move_to_a_slow_destination_says_how_far_it_is_and_can_be_cancelled(site: Running) -> None:
    station = SlowStation()
    with storing(station.store) as port, ConversingPeer(site.port, [MOVE], calling_aet=VIEWER) as peer:
        addressed(site, "WS1", port)
        _ask_to_move(peer, FIRST)
        assert station.has_one.wait(10)
        pending = peer.read()
        assert (pending.number(STATUS), pending.number(REMAINING), pending.number(COMPLETED)) == (PENDING, 3, 0)
        # Whoever waits for a destination holds nothing that others wait for.
        assert get(site, study(SECOND)).status == 0
        peer.cancel()
        last = last_message(peer)
        assert (last.number(STATUS), last.number(REMAINING), last.number(COMPLETED)) == (CANCELED, 3, 0)
        assert peer.release()
        station.may.set()
        until(lambda: is_over("move"), "the end of the move")
    assert len(station.taken) == 1


def test_a_peer_that_is_gone_in_the_middle_of_a_move_ends_it(site: Running) -> None:
    station = SlowStation()
    with storing(station.store) as port:
        addressed(site, "WS1", port)
        with ConversingPeer(site.port, [MOVE], calling_aet=VIEWER) as peer:
            _ask_to_move(peer, FIRST)
            assert station.has_one.wait(10)
        until(lambda: is_over("association"), "the end of the association")
        station.may.set()
        until(lambda: is_over("move"), "the end of the move")
    assert len(station.taken) == 1


def test_more_moves_at_once_than_there_are_places_for_are_refused_for_now(site: Running) -> None:
    station = SlowStation()
    with storing(station.store) as port, contextlib.ExitStack() as stack:
        addressed(site, "WS1", port)
        peers_at_work = [
            stack.enter_context(ConversingPeer(site.port, [MOVE], calling_aet=VIEWER)) for _ in range(MOST_MOVES)
        ]
        for peer in peers_at_work:
            _ask_to_move(peer, SECOND)
        assert [peer.read().number(STATUS) for peer in peers_at_work] == [PENDING] * MOST_MOVES
        with ConversingPeer(site.port, [MOVE], calling_aet="SECOND") as late:
            _ask_to_move(late, SECOND)
            assert late.read().number(STATUS) == NONE_SENT
        station.may.set()
        assert [last_message(peer).number(STATUS) for peer in peers_at_work] == [0] * MOST_MOVES
