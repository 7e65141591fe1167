from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from dicom_gateway.completeness.rules import Rules
from dicom_gateway.config import GatewaySettings
from dicom_gateway.gateway import Gateway
from storage import associations, processes, registering, worklist
from storage.arrivals import Origin, StudyFacts
from storage.database import Database, utc_now
from storage.domain import StoredInstance
from storage.errors import RoutesInvalid
from storage.journals import Journal
from storage.models import StudyRow
from storage.objects import ObjectStore
from storage.routes.file import SHIPPED
from storage.routes.in_force import RoutesInForce
from storage.states import StudyState
from tests.support.gateways import ANY_ROUTE, Running, assembly, running_gateway, until
from tests.support.journals import put_into_journal
from tests.support.routing import quiet_studies
from tests.support.senders import association, ct_image, store

pytestmark = pytest.mark.slow

_QUICK = 0.3
_NEVER = 3600.0


def test_a_study_that_goes_quiet_opens_one_job(database: Database, objects: ObjectStore) -> None:
    with running_gateway(database, objects, quiet_seconds=_QUICK) as running:
        store(running.port, ct_image(number=1), ct_image(number=2))
        until(lambda: running.jobs() != [], "the job of the quiet study")
        assert running.jobs() == [(1, 1)]
        assert '"instances":2' in running.events("study:closed")[0]


def test_an_association_that_is_still_open_holds_its_study_back(database: Database, objects: ObjectStore) -> None:
    with running_gateway(database, objects, quiet_seconds=_QUICK) as running:
        with association(running.port) as opened:
            opened.send_c_store(ct_image("held"))
            assert running.gateway.drain(30)
            store(running.port, ct_image("other"))
            until(lambda: running.jobs() != [], "the job of the other study")
            assert running.jobs() == [(2, 1)]
            opened.send_c_store(ct_image("held", 2))
        until(lambda: (1, 1) in running.jobs(), "the job of the study that was held back")
        assert '"instances":2' in running.events("study:closed")[1]


def test_the_end_of_an_association_closes_its_study_without_waiting_for_the_next_look(
    sqlite_database: Database, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_gateway.arrivals._SLOWEST_LOOK_SECONDS", _NEVER)
    monkeypatch.setattr("storage.processes.STALE_AFTER", timedelta(days=1))
    monkeypatch.setattr("storage.associations.STALE_AFTER", timedelta(days=1))
    later = threading.Event()
    gateway = Gateway(
        GatewaySettings(port=0, quiet_seconds=_NEVER),
        sqlite_database,
        objects,
        routes=RoutesInForce(ANY_ROUTE),
        clock=lambda: utc_now() + timedelta(hours=2 if later.is_set() else 0),
    )
    gateway.start()
    try:
        running = Running(gateway, sqlite_database, objects)
        with association(running.port) as opened:
            opened.send_c_store(ct_image())
            assert gateway.drain(30)
            later.set()
            assert running.jobs() == []
        until(lambda: running.jobs() == [(1, 1)], "the job of the study whose sender left")
    finally:
        gateway.stop()


def test_a_late_image_opens_the_next_revision(database: Database, objects: ObjectStore) -> None:
    with running_gateway(database, objects, quiet_seconds=_QUICK) as running:
        store(running.port, ct_image(number=1))
        until(lambda: running.jobs() == [(1, 1)], "the first job")
        store(running.port, ct_image(number=2))
        until(lambda: running.jobs() == [(1, 1), (1, 2)], "the job of the second revision")
        store(running.port, ct_image(number=2))
        assert running.events("study:reopened") == ['{"revision":2}']


def test_a_study_left_receiving_is_closed_by_the_next_gateway(database: Database, objects: ObjectStore) -> None:
    with running_gateway(database, objects) as first:
        store(first.port, ct_image())
    with running_gateway(database, objects, quiet_seconds=_QUICK) as second:
        until(lambda: second.jobs() == [(1, 1)], "the job of the study that was left")


def test_the_association_of_a_gateway_that_died_holds_nothing_back(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    begun = utc_now() - timedelta(hours=1)
    with sqlite_database.write() as session:
        processes.start(session, "dead", "gateway", now=begun)
        opened = associations.opened(
            session, process_id="dead", calling_aet="CT", called_aet="ONCUE", remote_address="10.0.0.1", now=begun
        )
        instance = StoredInstance("1.2", "1.2.3", "1.2.3.4", "1.2.840", "1.2.840", "CT", "0" * 64, "1" * 64, 10)
        registering.register_instance(session, instance, StudyFacts(), origin=Origin("CT", opened), now=begun)
    assembly(sqlite_database, objects, rules=Rules(quiet_seconds=10)).close_complete()
    with sqlite_database.read() as session:
        assert quiet_studies(session, quiet_seconds=10, now=utc_now()) == ()


def test_a_study_stays_open_while_an_image_of_it_is_in_any_journal_and_closes_once_it_is_taken_over(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    registered, waiting = ct_image(number=1), ct_image(number=2)
    with running_gateway(sqlite_database, objects) as running:
        store(running.port, registered)
    closing = assembly(sqlite_database, objects)
    journal = Journal.create(objects, "gateway-other")
    put_into_journal(objects, journal, waiting)
    closing.close_complete()
    assert _is_open(sqlite_database)
    journal.close()  # its process dies
    closing.close_complete()
    assert _is_open(sqlite_database)
    with running_gateway(sqlite_database, objects) as running:
        until(lambda: len(running.instances()) == 2, "the image of the dead gateway")
    closing.close_complete()
    assert not _is_open(sqlite_database)


def _is_open(database: Database) -> bool:
    with database.read() as session:
        return session.scalars(select(StudyRow.closed_at)).one() is None


def test_a_study_that_no_route_wants_is_set_aside_with_its_reasons(database: Database, objects: ObjectStore) -> None:
    with running_gateway(database, objects, quiet_seconds=_QUICK, routes=SHIPPED) as running:
        store(running.port, ct_image())
        until(lambda: running.events("study:not-applicable") != [], "the study that no route wants")
        assert running.jobs() == []
    with database.read() as session:
        entry = worklist.find(session, 1)
    assert entry.state is StudyState.NOT_APPLICABLE
    assert entry.reasons[0].startswith("route head-mr: ")
    assert "modality: wanted MR, found CT" in entry.reasons[0]


def test_routes_that_change_hold_from_the_next_study_on_and_a_wrong_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "routes.toml"
    site = RoutesInForce(path, required=False)
    assert [route.name for route in site.current().routes] == [
        "head-mr",
        "limb-mr",
        "limb-ct",
        "limb-pet",
        "head-mr-contrast",
        "breast-us",
    ]
    path.write_bytes(ANY_ROUTE.read_bytes())
    assert [route.name for route in site.current().routes] == ["any"]
    path.unlink()
    assert [route.name for route in site.current().routes] == ["any"]
    path.write_text("version = 1\n[[route]]\nnonsense = true\n")
    assert [route.name for route in site.current().routes] == ["any"]
    with pytest.raises(RoutesInvalid, match="line 3"):
        RoutesInForce(path)
