"""In which order deliveries are taken, and what is passed over, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from storage import audit, circuits, deliveries, delivery_claims, delivery_lists, processes
from storage.backoff import no_jitter
from storage.circuits import CircuitState, Fault, Signal
from storage.database import Database
from storage.delivery_claims import ClaimTerms
from storage.delivery_lists import Delivery
from storage.domain import Priority
from storage.states import DeliveryState
from tests.support.waiting_deliveries import put_on_the_way, unkept_images

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PACS, ARCHIVE = "PACS@10.0.0.1:104", "ARCHIVE@10.0.0.2:104"


def _open(
    database: Database,
    study: int,
    count: int = 1,
    *,
    priority: Priority | None = None,
    destination: str = PACS,
    now: datetime = NOW,
) -> None:
    images = unkept_images(count, first=100 * study)
    put_on_the_way(database, study, images, destination=destination, priority=priority, now=now)


def _claim(
    database: Database,
    owner: str = "g1",
    *,
    objects: int = 50,
    associations: int = 1,
    destination: str = PACS,
    now: datetime = NOW,
) -> tuple[Delivery, ...]:
    terms = ClaimTerms(owner, 60, objects, associations)
    with database.write() as session:
        return delivery_claims.claim(session, destination, terms, now=now)


def _studies(batch: tuple[Delivery, ...]) -> list[str]:
    return [delivery.study_instance_uid for delivery in batch]


def test_the_most_urgent_goes_first_and_of_those_what_waited_longest(database: Database) -> None:
    _open(database, 1, priority=None)
    _open(database, 2, priority=Priority.ROUTINE)
    _open(database, 3, priority=Priority.STAT, now=NOW + timedelta(seconds=2))
    _open(database, 4, priority=Priority.STAT, now=NOW + timedelta(seconds=1))
    later = NOW + timedelta(seconds=5)
    assert _studies(_claim(database, objects=3, now=later)) == ["2.25.4", "2.25.3", "2.25.2"]


def test_what_waits_of_a_study_goes_along_when_its_priority_rises(database: Database) -> None:
    _open(database, 1, 2, priority=Priority.LOW)
    _open(database, 2, priority=Priority.ROUTINE)
    put_on_the_way(database, 1, unkept_images(1), destination=PACS, priority=Priority.STAT, now=NOW)
    batch = _claim(database)
    assert _studies(batch) == ["2.25.1", "2.25.1", "2.25.1", "2.25.2"]
    assert [one.rank for one in batch] == [0, 0, 0, Priority.ROUTINE.rank]


def test_destinations_are_named_by_the_most_urgent_that_waits_for_them(database: Database) -> None:
    _open(database, 1, 3, priority=Priority.ROUTINE)
    _open(database, 2, priority=Priority.STAT, destination=ARCHIVE)
    _open(database, 3, destination="LATER@10.0.0.3:104", now=NOW + timedelta(minutes=1))
    with database.read() as session:
        found = delivery_claims.waiting(session, now=NOW)
    assert [(one.destination, one.due, one.rank) for one in found] == [
        (ARCHIVE, 1, Priority.STAT.rank),
        (PACS, 3, Priority.ROUTINE.rank),
        ("LATER@10.0.0.3:104", 0, None),
    ]
    assert found[-1].next_at == NOW + timedelta(minutes=1)


def test_no_more_batches_are_on_their_way_than_a_destination_allows_whoever_asks(database: Database) -> None:
    _open(database, 1, 6)
    claimed = [_claim(database, owner, objects=2, associations=2) for owner in ("a/1", "b/1", "a/2")]
    assert [len(batch) for batch in claimed] == [2, 2, 0]
    with database.write() as session:
        delivery_claims.hand_back(session, [one.id for one in claimed[0]], owner="a/1")
    assert len(_claim(database, "c/1", objects=4, associations=2)) == 4


def test_what_is_handed_back_stands_as_before_and_is_no_event(database: Database) -> None:
    _open(database, 1, 2)
    with database.read() as session:
        before = audit.count(session)
    batch = _claim(database)
    with database.write() as session:
        delivery_claims.hand_back(session, [one.id for one in batch], owner="g1")
        delivery_claims.hand_back(session, [one.id for one in batch], owner="somebody else")
    with database.read() as session:
        assert audit.count(session) == before
        assert {(one.state, one.attempts) for one in delivery_lists.listed(session)} == {(DeliveryState.PENDING, 0)}
    assert [one.id for one in _claim(database)] == [one.id for one in batch]


def test_a_lease_that_is_renewed_is_not_taken_over(database: Database) -> None:
    _open(database, 1)
    (one,) = _claim(database)
    later = NOW + timedelta(seconds=59)
    with database.write() as session:
        delivery_claims.renew(session, [one.id], owner="g1", lease_seconds=60, now=later)
    assert _claim(database, "g2", now=NOW + timedelta(seconds=90)) == ()
    (taken_over,) = _claim(database, "g2", now=NOW + timedelta(seconds=120))
    assert (taken_over.id, taken_over.attempts) == (one.id, 2)


def test_what_a_lost_process_held_is_free_before_its_lease_runs_out(database: Database) -> None:
    _open(database, 1, 2)
    lost, alive = (f"gateway-host-{number}-abc/1" for number in (1, 2))
    with database.write() as session:
        for owner in (lost, alive):
            processes.start(session, owner.partition("/")[0], "gateway", now=NOW)
    (one,) = _claim(database, lost, objects=1, associations=2)
    (other,) = _claim(database, alive, objects=1, associations=2)
    later = NOW + timedelta(seconds=31)
    with database.write() as session:
        processes.beat(session, alive.partition("/")[0], now=later)
        assert delivery_claims.end_lost(session, now=NOW) == 0
        assert delivery_claims.end_lost(session, now=later) == 1
    moment = later + timedelta(seconds=1)
    assert [item.id for item in _claim(database, "g3", associations=2, now=moment)] == [one.id] != [other.id]


def test_an_open_circuit_lets_nothing_be_taken_and_a_half_open_one_a_single_batch(database: Database) -> None:
    _open(database, 1, 4)
    with database.write() as session:
        circuits.failed(session, PACS, Signal.UNREACHABLE, Fault("c", "r"), draw=no_jitter, now=NOW)
        assert delivery_claims.waiting(session, now=NOW) == ()
    assert _claim(database) == ()
    later = NOW + timedelta(seconds=5)
    assert len(_claim(database, "a", objects=1, associations=4, now=later)) == 1
    assert _claim(database, "b", objects=1, associations=4, now=later) == ()
    with database.read() as session:
        assert circuits.state_of(session, PACS, now=later) is CircuitState.HALF_OPEN


def test_what_is_put_off_waits_longer_each_time_without_an_event(database: Database) -> None:
    _open(database, 1)
    now, waits = NOW, []
    for _ in range(3):
        (one,) = _claim(database, now=now)
        with database.write() as session:
            delivery_claims.put_off(session, [one.id], owner="g1", now=now, draw=no_jitter)
            (left,) = delivery_lists.listed(session)
        waits.append((left.next_attempt_at - now).total_seconds())
        now = left.next_attempt_at
    assert waits == [5, 10, 20]
    with database.read() as session:
        assert audit.history(session, tag="delivery:postponed") == ()


def test_a_remark_of_the_peer_is_kept_with_what_was_sent(database: Database) -> None:
    _open(database, 1)
    (one,) = _claim(database)
    with database.write() as session:
        deliveries.sent(session, one.id, owner="g1", status=0xB000, note="values were changed", now=NOW)
        (kept,) = delivery_lists.listed(session)
    assert (kept.state, kept.status, kept.code, kept.reason) == (
        DeliveryState.SENT,
        0xB000,
        None,
        "values were changed",
    )


def test_what_is_due_is_found_by_its_index_alone(sqlite_database: Database) -> None:
    query = (
        "SELECT id FROM deliveries WHERE state = 'pending' AND destination = 'x' AND rank = 0"
        " AND next_attempt_at <= 'y' ORDER BY next_attempt_at, id LIMIT 50"
    )
    with sqlite_database.read() as session:
        (step,) = session.execute(text(f"EXPLAIN QUERY PLAN {query}")).all()
    assert "COVERING INDEX ix_deliveries_state_destination_rank_next_attempt_at_id" in step.detail
