"""Batches under way: to peers that are dead, slow, full or picky, under leases, pauses and circuits."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]  # made at import, from a table
from sqlalchemy import event
from sqlalchemy.orm import Session

from dicom_gateway.receivers import Receiver, addressed
from dicom_gateway.receiving.file_receiver import running_receiver
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.delivery import Dispatch, Dispatcher
from dicom_gateway.sending.delivery_batch import Caller
from storage import audit, circuits, delivery_lists, destinations
from storage.backoff import no_jitter
from storage.circuits import CircuitState
from storage.database import Database, utc_now
from storage.destinations import DestinationEntry
from storage.domain import ObjectKind, Priority
from storage.objects import ObjectStore
from storage.states import DeliveryState
from tests.support import peers
from tests.support import storescp_profiles as profiles
from tests.support.ending_scp import Ending, ending_scp
from tests.support.gateways import until
from tests.support.storage_scp import scp
from tests.support.waiting_deliveries import images_in, put_on_the_way

# pynetdicom drops the socket of a refused connection without closing it; the garbage collector does.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PENDING, SENT, REFUSED = DeliveryState.PENDING, DeliveryState.SENT, DeliveryState.REFUSED
CT = "1.2.840.10008.5.1.4.1.1.2"
_SECONDS = 20.0


@dataclass
class Site:
    """A dispatcher of some receivers with a clock that a test moves."""

    database: Database
    objects: ObjectStore
    known: dict[str, Receiver] = field(default_factory=dict)
    now: datetime | None = NOW
    lease_seconds: float = 60.0
    owner: str = "gateway"

    def clock(self) -> datetime:
        return self.now or utc_now()

    def dispatcher(self) -> Dispatcher:
        dispatch = Dispatch(self.owner, self.lease_seconds, self.clock, no_jitter)
        caller = Caller("ONCUE", PeerTimeouts(connect_seconds=2, associate_seconds=5, answer_seconds=10))
        return Dispatcher(self.database, self.objects, dispatch, caller, lambda _: self.known)

    def add(self, destination: str, count: int, *, study: int = 1, priority: Priority | None = None) -> list[str]:
        images = images_in(self.objects, count, first=100 * study)
        put_on_the_way(self.database, study, images, destination=destination, priority=priority, now=self.clock())
        return [uid for uid, _, _ in images]

    def states(self) -> list[DeliveryState]:
        with self.database.read() as session:
            return [one.state for one in delivery_lists.listed(session)][::-1]

    def events(self, tag: str) -> int:
        with self.database.read() as session:
            return len(audit.history(session, tag=tag, limit=1000))

    def circuit(self, destination: str) -> CircuitState:
        with self.database.read() as session:
            return circuits.state_of(session, destination, now=self.clock())

    def later(self, seconds: float) -> None:
        self.now = self.clock() + timedelta(seconds=seconds)


@pytest.fixture
def site(sqlite_database: Database, objects: ObjectStore) -> Site:
    return Site(sqlite_database, objects)


def _round(dispatcher: Dispatcher) -> float | None:
    pause = dispatcher.send_due()
    dispatcher.join(_SECONDS)
    return pause


@pytest.mark.peer
def test_a_dead_destination_writes_one_event_however_much_waits_and_gets_all_when_it_is_back(
    site: Site, tmp_path: Path
) -> None:
    site.known["pacs"] = replace(addressed(f"STORESCP@127.0.0.1:{peers.free_port()}"), name="pacs")
    dispatcher = site.dispatcher()
    site.add("pacs", 2)
    _round(dispatcher)
    assert (site.events("delivery:postponed"), site.events("circuit:opened")) == (2, 1)
    site.add("pacs", 30, study=2)
    for _ in range(4):
        site.later(120)
        _round(dispatcher)
    assert (site.events("delivery:postponed"), site.events("circuit:opened")) == (2, 1)
    assert site.states() == [PENDING] * 32
    with peers.dcmtk_storescp(tmp_path) as peer:
        site.known["pacs"] = replace(addressed(f"STORESCP@127.0.0.1:{peer.port}"), name="pacs")
        assert _round(dispatcher) is not None
        assert not peer.files()
        site.later(120)
        _round(dispatcher)
        assert site.states() == [SENT] * 32
        assert len(peer.files()) == 32
    assert (site.events("circuit:closed"), site.circuit("pacs")) == (1, CircuitState.CLOSED)


@pytest.mark.peer
def test_orthanc_gets_everything_over_as_many_associations_as_it_allows(
    database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    site = Site(database, objects, now=None)
    with peers.orthanc(tmp_path) as orthanc:
        receiver = replace(addressed(f"ORTHANC@127.0.0.1:{orthanc.port}"), name="pacs", associations=2)
        site.known["pacs"] = receiver
        uids = site.add("pacs", 24)
        dispatcher = site.dispatcher()

        def all_sent() -> bool:
            dispatcher.send_due()
            return site.states() == [SENT] * 24

        until(all_sent, "all objects at the peer")
        assert orthanc.sop_instance_uids() == tuple(sorted(uids))
        dispatcher.join(_SECONDS)


def test_a_pause_ends_a_batch_after_the_object_that_it_is_at(site: Site) -> None:
    with ending_scp(100, Ending.RELEASE, pause_seconds=0.5) as peer:
        receiver = addressed(f"PEER@127.0.0.1:{peer.port}")
        site.known[receiver.name] = receiver
        uids = site.add(receiver.name, 6)
        dispatcher = site.dispatcher()
        dispatcher.send_due()
        until(lambda: len(peer.requested) == 2, "the second object under way")
        site.known[receiver.name] = replace(receiver, paused=True)
        dispatcher.join(_SECONDS)
        assert site.states() == [SENT] * 2 + [PENDING] * 4
        assert peer.stored == uids[:2]
        _round(dispatcher)
        assert len(peer.requested) == 2
        site.known[receiver.name] = receiver
        _round(dispatcher)
        assert peer.stored == uids


def test_what_is_urgent_does_not_wait_for_the_end_of_a_batch_that_is_not(site: Site) -> None:
    with ending_scp(100, Ending.RELEASE, pause_seconds=0.5) as peer:
        destination = f"PEER@127.0.0.1:{peer.port}"
        low = site.add(destination, 6, priority=Priority.LOW)
        dispatcher = site.dispatcher()
        dispatcher.send_due()
        until(lambda: len(peer.requested) == 2, "the second object under way")
        stat = site.add(destination, 1, study=2, priority=Priority.STAT)
        dispatcher.join(_SECONDS)
        _round(dispatcher)
        assert peer.stored == low[:2] + stat + low[2:]


def test_a_slow_batch_keeps_its_lease_and_reaches_the_peer_once(site: Site) -> None:
    site.now, site.lease_seconds = None, 1.0
    other = replace(site, owner="other")
    with ending_scp(100, Ending.RELEASE, pause_seconds=0.6) as peer:
        uids = site.add(f"PEER@127.0.0.1:{peer.port}", 5)
        dispatchers = (site.dispatcher(), other.dispatcher())

        def all_sent() -> bool:
            for dispatcher in dispatchers:
                dispatcher.send_due()
            return site.states() == [SENT] * 5

        until(all_sent, "all objects at the slow peer")
        for dispatcher in dispatchers:
            dispatcher.join(_SECONDS)
        assert peer.requested == uids


def test_two_dispatchers_together_open_no_more_associations_than_a_destination_allows(
    database: Database, objects: ObjectStore
) -> None:
    site = Site(database, objects, now=None)
    other = replace(site, owner="other")
    with _counting_peer() as (port, at_once):
        site.known["pacs"] = replace(addressed(f"SCP@127.0.0.1:{port}"), name="pacs", associations=2)
        site.add("pacs", 40)
        dispatchers = (site.dispatcher(), other.dispatcher())

        def all_sent() -> bool:
            for dispatcher in dispatchers:
                dispatcher.send_due()
            return site.states() == [SENT] * 40

        until(all_sent, "all objects at the peer")
        for dispatcher in dispatchers:
            dispatcher.join(_SECONDS)
    assert max(at_once) == 2


def test_an_object_that_is_refused_shuts_nothing_off(site: Site) -> None:
    with scp((CT,), statuses=(0xA900, 0xA700, 0xB006)) as (port, received):
        destination = f"SCP@127.0.0.1:{port}"
        site.add(destination, 4)
        _round(site.dispatcher())
        assert site.states() == [REFUSED, PENDING, SENT, SENT]
        assert len(received) == 4
        assert (site.circuit(destination), site.events("circuit:opened")) == (CircuitState.CLOSED, 0)
    with site.database.read() as session:
        remarked = delivery_lists.listed(session)[1]
    assert (remarked.status, remarked.code) == (0xB006, None)
    assert remarked.reason is not None
    assert "0xB006" in remarked.reason


def test_a_peer_that_is_full_is_shut_off_after_a_few_batches(site: Site) -> None:
    with scp((CT,), statuses=(0xA700,) * 8) as (port, received):
        destination = f"SCP@127.0.0.1:{port}"
        site.add(destination, 2)
        dispatcher = site.dispatcher()
        for _ in range(3):
            _round(dispatcher)
            site.later(30)
        assert site.circuit(destination) is not CircuitState.CLOSED
        assert (len(received), site.events("delivery:postponed"), site.events("circuit:opened")) == (6, 6, 1)
        _round(dispatcher)
        assert (len(received), site.events("delivery:postponed"), site.events("circuit:opened")) == (8, 6, 1)
        site.later(120)
        _round(dispatcher)
        assert (site.states(), site.circuit(destination)) == ([SENT] * 2, CircuitState.CLOSED)


def test_a_title_that_the_peer_does_not_know_costs_one_batch_and_the_rest_waits(site: Site, tmp_path: Path) -> None:
    with running_receiver(tmp_path / "pacs") as receiver:
        destination = f"SOMEONE@127.0.0.1:{receiver.port}"
        site.add(destination, 2)
        dispatcher = site.dispatcher()
        _round(dispatcher)
        site.add(destination, 5, study=2)
        for _ in range(3):
            site.later(120)
            _round(dispatcher)
    assert site.states() == [REFUSED] * 2 + [PENDING] * 5
    with site.database.read() as session:
        (one,) = circuits.listed(session, now=site.clock())
    assert (one.failures, one.fault and one.fault.code) == (4, "peer_rejected_object")


@pytest.mark.peer
def test_no_commit_leaves_a_refused_form_without_what_stands_in(site: Site, tmp_path: Path) -> None:
    left: list[tuple[DeliveryState, bool]] = []

    def look(_: Session) -> None:
        with contextlib.closing(sqlite3.connect(str(site.database.engine.url.database))) as connection:
            ((state,),) = connection.execute("SELECT state FROM deliveries")
            known = connection.execute("SELECT taken FROM destination_negotiations").fetchall()
        left.append((DeliveryState(state), bool(known)))

    with peers.dcmtk_storescp(tmp_path, *profiles.taking(tmp_path, {ObjectKind.SR})) as peer:
        address = f"{peer.ae_title}@127.0.0.1:{peer.port}"
        site.known["pacs"] = replace(addressed(address), name="pacs")
        with site.database.write() as session:
            destinations.add(session, DestinationEntry("pacs", address), actor="test", now=NOW)
        site.add("pacs", 1)
        event.listen(Session, "after_commit", look)
        try:
            _round(site.dispatcher())
        finally:
            event.remove(Session, "after_commit", look)
    assert left[-1] == (REFUSED, True)
    assert (REFUSED, False) not in left


def test_a_name_that_nobody_has_refuses_what_was_meant_for_it(site: Site) -> None:
    site.add("archive", 2)
    _round(site.dispatcher())
    with site.database.read() as session:
        assert {(one.state, one.code) for one in delivery_lists.listed(session)} == {(REFUSED, "configuration_error")}


def test_a_dispatcher_that_closes_gives_back_what_it_did_not_send(site: Site) -> None:
    with ending_scp(100, Ending.RELEASE, pause_seconds=0.5) as peer:
        destination = f"PEER@127.0.0.1:{peer.port}"
        site.add(destination, 4)
        dispatcher = site.dispatcher()
        dispatcher.send_due()
        until(lambda: len(peer.requested) == 1, "the first object under way")
        dispatcher.close()
        dispatcher.join(_SECONDS)
        assert site.states() == [SENT] + [PENDING] * 3
        assert dispatcher.send_due() is None
        _round(site.dispatcher())
        assert site.states() == [SENT] * 4


@contextlib.contextmanager
def _counting_peer() -> Iterator[tuple[int, list[int]]]:
    """Run an SCP that takes a moment over each object, and note how many associations were open at each."""
    entity, counts, lock, pause = AE(ae_title="SCP"), [], threading.Lock(), threading.Event()
    entity.add_supported_context(CTImageStorage)
    opened: set[int] = set()

    def begin(event: evt.Event) -> None:
        with lock:
            opened.add(id(event.assoc))

    def end(event: evt.Event) -> None:
        with lock:
            opened.discard(id(event.assoc))

    def store(_event: evt.Event) -> int:
        with lock:
            counts.append(len(opened))
        pause.wait(0.05)
        return 0x0000

    handlers: list[Any] = [
        (evt.EVT_ACCEPTED, begin),
        (evt.EVT_RELEASED, end),
        (evt.EVT_ABORTED, end),
        (evt.EVT_C_STORE, store),
    ]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield server.server_address[1], counts
    finally:
        server.shutdown()
