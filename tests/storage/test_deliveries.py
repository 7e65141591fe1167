"""From a finished analysis to objects and their deliveries, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from storage import (
    analyses,
    arrays,
    audit,
    deliveries,
    delivery_claims,
    delivery_lists,
    jobs,
    outbox,
    registering,
    reports,
)
from storage.arrivals import Origin, StudyFacts
from storage.database import Database
from storage.domain import (
    Algorithm,
    Analysis,
    Code,
    Finding,
    ObjectKind,
    Presence,
    Priority,
    StoredInstance,
    TriageDecision,
)
from storage.errors import IllegalTransition
from storage.objects import ObjectStore
from storage.states import DeliveryState, ReportState
from storage.volumes import FrameRef
from storage.written_objects import WrittenObject
from tests.support.routing import close_as_head

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MR = "1.2.840.10008.5.1.4.1.1.4"
FRAME = FrameRef("1.2.5", MR, None, "a" * 64)
WRITTEN = WrittenObject(
    ObjectKind.SR, "2.25.7", "1.2.840.10008.5.1.4.1.1.88.33", "2.25.8", "1.2.840.10008.1.2.1", "c" * 64, 9
)
PACS, ARCHIVE = "PACS@10.0.0.1:104", "ARCHIVE@10.0.0.2:104"


@pytest.fixture
def job_id(database: Database, objects: ObjectStore) -> int:
    instance = StoredInstance("1.2.3", "1.2.4", "1.2.5", MR, "1.2.840.10008.1.2.1", "MR", "a" * 64, "b" * 64, 10)
    absent = Finding(0, Presence.ABSENT, Code("52988006", "SCT", "Lesion"), 0.9, 0.0, 0.0, "No lesion", "2.25.1")
    decision = TriageDecision(Priority.ROUTINE, "default", "d" * 64, "{}")
    algorithm = Algorithm("test", "1", "e" * 64, "{}")
    analysis = Analysis("1.2.4", "f" * 64, algorithm, None, 0.1, 0.0, (absent,), None, (FRAME,), decision, ())
    grid = arrays.save_grid(objects, (FRAME,), None)
    with database.write() as session:
        origin = Origin("SENDER", None)
        registering.register_instance(session, instance, StudyFacts(), origin=origin, now=NOW)
        job_id = close_as_head(session, 1, quiet_seconds=0, now=NOW)
        assert job_id is not None
        held = jobs.claim(session, job_id, owner="w", lease_seconds=60, now=NOW)
        assert held is not None
        analyses.save(session, held, analysis, grid_digest=grid, now=NOW)
    return job_id


def _write_report(database: Database, job_id: int) -> None:
    with database.write() as session:
        reports.written(session, job_id, [WRITTEN], destinations=[PACS, ARCHIVE], now=NOW)


def _claim(database: Database, *, now: datetime = NOW, owner: str = "g1") -> list[int]:
    with database.write() as session:
        return [item.id for item in delivery_claims.claim_due(session, owner=owner, lease_seconds=60, now=now)]


def _states(database: Database) -> dict[str, DeliveryState]:
    with database.read() as session:
        return {item.destination: item.state for item in delivery_lists.listed(session)}


def test_a_written_report_opens_one_delivery_for_each_destination_once(database: Database, job_id: int) -> None:
    with database.read() as session:
        assert [report.job_id for report in reports.due(session, now=NOW)] == [job_id]
    _write_report(database, job_id)
    _write_report(database, job_id)
    assert _states(database) == {PACS: DeliveryState.PENDING, ARCHIVE: DeliveryState.PENDING}
    with database.read() as session:
        assert reports.due(session, now=NOW) == ()
        assert reports.known_object(session, "2.25.7") == WRITTEN
        tags = [event.tag for event in audit.history(session)][-3:]
    assert tags == ["object:written", "delivery:opened", "delivery:opened"]


def test_a_report_that_cannot_be_written_is_tried_again_and_then_given_up(database: Database, job_id: int) -> None:
    for attempt in range(1, outbox.MAX_ATTEMPTS + 1):
        with database.write() as session:
            state = reports.failed(session, job_id, code="storage_full", reason="r", retryable=True, now=NOW)
            assert reports.due(session, now=NOW) == ()
        assert state is (ReportState.FAILED if attempt == outbox.MAX_ATTEMPTS else ReportState.PENDING)


def test_one_claim_takes_one_destination_and_nobody_else_gets_it(database: Database, job_id: int) -> None:
    _write_report(database, job_id)
    first, second, third = _claim(database), _claim(database, owner="g2"), _claim(database)
    assert (len(first), len(second), third) == (1, 1, [])
    assert first != second


def test_a_delivery_is_sent_once_and_the_peer_s_status_is_kept(database: Database, job_id: int) -> None:
    _write_report(database, job_id)
    (delivery_id,) = _claim(database)
    with database.write() as session:
        deliveries.sent(session, delivery_id, owner="g1", status=0xB000, now=NOW)
        deliveries.sent(session, delivery_id, owner="g1", status=0x0000, now=NOW)
    with database.read() as session:
        (done,) = delivery_lists.listed(session, state=DeliveryState.SENT)
        assert (done.status, done.sent_at) == (0xB000, NOW)
        assert len(audit.history(session, tag="delivery:sent")) == 1


def test_a_peer_that_is_down_is_asked_again_ever_more_rarely(database: Database, job_id: int) -> None:
    with database.write() as session:
        reports.written(session, job_id, [WRITTEN], destinations=[PACS], now=NOW)
    now, waits = NOW, []
    for _ in range(10):
        (delivery_id,) = _claim(database, now=now)
        with database.write() as session:
            deliveries.postponed(session, delivery_id, owner="g1", status=None, code="peer_down", reason="r", now=now)
            (item,) = delivery_lists.listed(session)
        waits.append((item.next_attempt_at - now).total_seconds())
        now = item.next_attempt_at
    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-1] == 900


def test_a_refused_object_waits_for_a_person(database: Database, job_id: int) -> None:
    with database.write() as session:
        reports.written(session, job_id, [WRITTEN], destinations=[PACS], now=NOW)
    (delivery_id,) = _claim(database)
    with database.write() as session:
        deliveries.refused(session, delivery_id, owner="g1", status=0xA900, code="c", reason="r", now=NOW)
    assert _claim(database, now=NOW + timedelta(days=1)) == []
    with database.write() as session:
        deliveries.retry(session, delivery_id, actor="operator", now=NOW)
    assert _claim(database) == [delivery_id]


def test_a_gateway_that_died_while_sending_loses_its_deliveries_to_another(database: Database, job_id: int) -> None:
    with database.write() as session:
        reports.written(session, job_id, [WRITTEN], destinations=[PACS], now=NOW)
    (delivery_id,) = _claim(database)
    later = NOW + timedelta(seconds=61)
    assert _claim(database, now=later, owner="g2") == [delivery_id]
    with database.write() as session:
        deliveries.refused(session, delivery_id, owner="g1", status=None, code="c", reason="r", now=later)
    assert _states(database) == {PACS: DeliveryState.SENDING}


def test_a_pending_delivery_cannot_be_retried(database: Database, job_id: int) -> None:
    _write_report(database, job_id)
    with pytest.raises(IllegalTransition), database.write() as session:
        deliveries.retry(session, 1, actor="operator", now=NOW)
