"""Who may send, asked of a running gateway; senders on this machine need an entry here, as those of the network do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.config import GatewaySettings
from dicom_gateway.receiving.admission import CALLING_AET_UNKNOWN, Admitted, Caller, Refused
from dicom_gateway.receiving.peer_admission import PeerAdmission
from dicom_gateway.receiving.refusal_count import EVENTS_PER_HOUR
from dicom_gateway.status import Status
from storage import audit, peers, refused_peers
from storage.database import Database, utc_now
from storage.domain import Lane
from storage.models import StudyRow
from storage.objects import ObjectStore
from storage.peers import PeerEntry, Quotas, Service
from storage.refused_peers import MOST_OF_AN_ADDRESS, RefusedPeer
from tests.support.gateways import Running, running_gateway, until
from tests.support.peers import echoscu, executable, run, storescu
from tests.support.senders import LOOPBACK, association, ct_image, store

pytestmark = pytest.mark.slow
CT = PeerEntry("ct", "CT")
_TO_MID_HOUR = timedelta(minutes=30 - utc_now().minute)
STRANGER = Caller("EVIL", "ONCUE", "127.6.6.6")


def mid_hour() -> datetime:
    """Return a time that no test is long enough to leave the hour of, for quotas begin anew with the next one."""
    return utc_now() + _TO_MID_HOUR


@contextlib.contextmanager
def gateway_for(database: Database, objects: ObjectStore, *entries: PeerEntry, **settings: Any) -> Iterator[Running]:
    with database.write() as session:
        for entry in entries:
            peers.add(session, entry, actor="cli:test", now=utc_now())
    with running_gateway(database, objects, clock=mid_hour, admit_loopback=False, **settings) as running:
        yield running


def change(database: Database, record: Callable[[Any], None]) -> None:
    with database.write() as session:
        record(session)


def refused(database: Database) -> tuple[RefusedPeer, ...]:
    with database.read() as session:
        return refused_peers.listed(session)


def is_let_in(running: Running, calling_aet: str = "CT", address: str = LOOPBACK) -> bool:
    with association(running.port, calling_aet=calling_aet, address=address) as opened:
        return bool(opened.is_established)


@pytest.mark.peer
def test_a_stranger_is_named_and_let_in_without_a_restart_and_kept_out_again(
    database: Database, objects: ObjectStore, tmp_path: Any
) -> None:
    file = tmp_path / "image.dcm"
    ct_image().save_as(file, enforce_file_format=True)
    with gateway_for(database, objects) as running:
        turned_away = storescu("ONCUE", running.port, file, calling_aet="CT")
        assert turned_away.returncode != 0
        assert "Calling AE Title Not Recognized" in turned_away.stdout
        until(lambda: refused(database) != (), "the stranger among those turned away")
        (stranger,) = refused(database)
        assert (stranger.calling_aet, stranger.address, stranger.code) == ("CT", "127.0.0.1", "calling_aet_unknown")
        assert '"code":"calling_aet_unknown"' in running.events("association:refused")[0]
        change(database, lambda session: peers.add(session, CT, actor="cli:test", now=utc_now()))
        until(lambda: echoscu("ONCUE", running.port, calling_aet="CT").returncode == 0, "the new entry in force")
        assert storescu("ONCUE", running.port, file, calling_aet="CT").returncode == 0
        assert len(running.instances()) == 1
        change(database, lambda session: peers.remove(session, "ct", actor="cli:test", now=utc_now()))
        until(lambda: echoscu("ONCUE", running.port, calling_aet="CT").returncode != 0, "the entry out of force")


@pytest.mark.peer
def test_a_wrong_called_title_is_told_to_the_sender_and_a_title_of_its_own_is_taken(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with gateway_for(sqlite_database, objects, CT, PeerEntry("us", "US", called_aet="TRIAGE")) as running:
        wrong = echoscu("ELSE", running.port, calling_aet="CT")
        assert "Called AE Title Not Recognized" in wrong.stdout
        assert echoscu("TRIAGE", running.port, calling_aet="US").returncode == 0
        assert echoscu("TRIAGE", running.port, calling_aet="CT").returncode != 0
        until(lambda: len(refused(sqlite_database)) == 2, "both among those turned away")
        assert {row.code for row in refused(sqlite_database)} == {"called_aet_unknown"}


@pytest.mark.peer
def test_findscu_is_given_no_service_that_it_could_ask(sqlite_database: Database, objects: ObjectStore) -> None:
    with gateway_for(sqlite_database, objects, CT) as running:
        asked = run(
            executable("findscu"), "-v", "-S", "-aet", "CT", "-aec", "ONCUE", "-k", "QueryRetrieveLevel=STUDY",
            "127.0.0.1", str(running.port),
        )  # fmt: skip # a command line
        assert "No Acceptable Presentation Contexts" in asked.stdout
        assert is_let_in(running)


def test_a_peer_comes_from_its_network_alone(sqlite_database: Database, objects: ObjectStore) -> None:
    entry = PeerEntry("ct", "CT", network="127.1.0.0/16")
    with gateway_for(sqlite_database, objects, entry) as running:
        assert is_let_in(running, address="127.1.2.3")
        assert not is_let_in(running, address="127.2.2.3")
        until(lambda: refused(sqlite_database) != (), "the other address among those turned away")
        assert [(row.address, row.code) for row in refused(sqlite_database)] == [("127.2.2.3", "network_not_allowed")]


def test_an_address_outside_the_fence_is_closed_unread_and_counted(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with gateway_for(sqlite_database, objects, CT, allowed_networks=("127.1.0.0/16",)) as running:
        assert is_let_in(running, address="127.1.2.3")
        for _ in range(3):
            assert not is_let_in(running, address="127.2.2.3")
        until(lambda: sum(row.count for row in refused(sqlite_database)) == 3, "the attempts, counted")
        (row,) = refused(sqlite_database)
        assert (row.calling_aet, row.address, row.code) == ("", "127.2.2.3", "network_not_allowed")
    with sqlite_database.read() as session:
        (event,) = audit.history(session, tag="association:refused")
    assert (event.subject, event.actor) == ("peer/127.2.2.3", "127.2.2.3")


def test_an_entry_gives_services_sop_classes_and_a_lane(sqlite_database: Database, objects: ObjectStore) -> None:
    entries = (
        PeerEntry("echo", "MONITOR", services=frozenset({Service.VERIFICATION})),
        PeerEntry("store", "ER", services=frozenset({Service.STORAGE}), lane=Lane.STAT),
        PeerEntry("mr", "MR", sop_classes=frozenset({MRImageStorage})),
    )
    wanted = [build_context(uid) for uid in (CTImageStorage, MRImageStorage, Verification)]
    offered: dict[str, set[str]] = {}
    with gateway_for(sqlite_database, objects, *entries) as running:
        for title in ("MONITOR", "ER", "MR"):
            with association(running.port, wanted, calling_aet=title) as opened:
                offered[title] = {str(context.abstract_syntax) for context in opened.accepted_contexts}
        assert store(running.port, ct_image("urgent"), calling_aet="ER") == [Status.SUCCESS]
    assert offered == {
        "MONITOR": {Verification},
        "ER": {CTImageStorage, MRImageStorage},
        "MR": {MRImageStorage, Verification},
    }
    with sqlite_database.read() as session:
        assert [row.lane for row in session.query(StudyRow)] == ["stat"]


def test_a_peer_that_is_kept_out_sends_nothing_more_over_the_association_that_it_has(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with gateway_for(sqlite_database, objects, CT) as running, association(running.port, calling_aet="CT") as opened:
        assert opened.send_c_store(ct_image(number=1)).Status == Status.SUCCESS
        change(
            sqlite_database,
            lambda session: peers.set_allowed(session, "ct", allowed=False, actor="cli:test", now=utc_now()),
        )
        until(lambda: not is_let_in(running), "the entry out of force")
        assert opened.send_c_store(ct_image(number=2)).Status == Status.NOT_AUTHORIZED
        assert len(running.instances()) == 1
    assert list(objects.incoming.iterdir()) == []


def test_images_above_a_quota_are_refused_for_now_without_an_event_for_each(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    entry = PeerEntry("ct", "CT", quotas=Quotas(images=2))
    images = [ct_image(number=number) for number in range(1, 9)]
    with gateway_for(sqlite_database, objects, entry) as running:
        assert store(running.port, *images, calling_aet="CT") == [Status.SUCCESS] * 2 + [Status.OUT_OF_RESOURCES] * 6
        assert len(running.instances()) == 2
        until(lambda: sum(row.count for row in refused(sqlite_database)) == 6, "the refused images, counted")
        assert [row.code for row in refused(sqlite_database)] == ["quota_exceeded"]
        assert len(running.events("association:refused")) <= 1
        assert running.events("instance:refused") == []
    assert list(objects.incoming.iterdir()) == []


def test_a_quota_of_associations_outlives_a_restart_and_holds_for_all_gateways(
    database: Database, objects: ObjectStore
) -> None:
    entry = PeerEntry("ct", "CT", quotas=Quotas(associations=3))
    with gateway_for(database, objects, entry) as running:
        assert [is_let_in(running) for _ in range(2)] == [True, True]
    with gateway_for(database, objects) as first, gateway_for(database, objects) as second:
        with association(first.port, calling_aet="CT") as third:
            assert third.is_established
        with association(first.port, calling_aet="CT") as fourth:
            until(lambda: fourth.is_rejected, "the answer that the quota is used up")
            assert fourth.acceptor.primitive is not None
            assert fourth.acceptor.primitive.result == 2
        until(lambda: not is_let_in(second), "the other gateway's share of the quota")


def test_the_last_association_of_a_peer_is_on_its_entry(sqlite_database: Database, objects: ObjectStore) -> None:
    with gateway_for(sqlite_database, objects, CT, PeerEntry("mr", "MR")) as running:
        assert is_let_in(running)
    with sqlite_database.read() as session:
        assert [recorded.last_seen_at is not None for recorded in peers.listed(session)] == [True, False]


def test_a_flood_of_strange_titles_leaves_few_rows_and_events(database: Database) -> None:
    admission = PeerAdmission(database, GatewaySettings(), utc_now)
    for number in range(200):
        caller = Caller(f"EVIL{number}", "ONCUE", "10.6.6.6")
        answer = admission.admit(caller)
        assert isinstance(answer, Refused)
        admission.note_refusal(caller, answer)
    admission.record_counts()
    admission.note_refusal(STRANGER, CALLING_AET_UNKNOWN)
    admission.record_counts()
    assert len(refused(database)) <= MOST_OF_AN_ADDRESS + 1
    with database.read() as session:
        events = audit.history(session, tag="association:refused", limit=1000)
    assert len(events) == EVENTS_PER_HOUR + 1
    assert '"code":"too_many_refusals"' in events[-1].details


def test_callers_are_answered_while_the_database_is_locked(sqlite_database: Database) -> None:
    change(sqlite_database, lambda session: peers.add(session, CT, actor="cli:test", now=utc_now()))
    admission = PeerAdmission(sqlite_database, GatewaySettings(), utc_now)
    admission.start()
    locked, done = threading.Event(), threading.Event()

    def lock() -> None:
        with sqlite_database.write():
            locked.set()
            done.wait(30)

    holder = threading.Thread(target=lock)
    holder.start()
    try:
        assert locked.wait(30)
        answer = admission.admit(Caller("CT", "ONCUE", "10.0.0.1"))
        assert isinstance(answer, Admitted)
        assert admission.charge(answer, 1000) is None
        assert admission.is_known_address("10.0.0.1")
        admission.note_refusal(STRANGER, CALLING_AET_UNKNOWN)
    finally:
        done.set()
        holder.join()
        admission.stop()
    assert [row.calling_aet for row in refused(sqlite_database)] == ["EVIL"]
