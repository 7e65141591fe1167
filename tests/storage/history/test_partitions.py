from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, table, text

from storage import audit
from storage.database import Database, connect, utc_now
from storage.history import guards, partitions

LATER = (utc_now() + timedelta(days=200)).replace(day=15)
"""A time that has no partition yet."""


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Database]:
    database = connect(postgresql_url)
    yield database
    database.dispose()


def _record(database: Database, at: datetime, events: int = 1) -> None:
    with database.write() as session:
        for number in range(events):
            audit.record(session, "study:opened", f"study/{number}", actor="test", now=at)


def _found_in(database: Database, month: datetime) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table(partitions.partition(month.date())))) or 0


@pytest.mark.peer
def test_months_are_made_ahead_and_what_is_written_then_lies_in_them(postgresql: Database) -> None:
    with postgresql.read() as session:
        assert partitions.lacking(session, now=LATER) == tuple(
            f"{month:%Y-%m}" for month in partitions.months(LATER, 1)
        )
    assert partitions.make_ahead(postgresql, now=LATER) == ()
    _record(postgresql, LATER)
    with postgresql.read() as session:
        assert partitions.lacking(session, now=LATER) == ()
        assert guards.missing(session) == ()
        assert partitions.strays(session) == 0
    assert _found_in(postgresql, LATER) == 1


@pytest.mark.peer
def test_events_of_a_month_that_is_made_late_are_moved_into_it_and_noted_once(postgresql: Database) -> None:
    _record(postgresql, LATER, events=3)
    with postgresql.read() as session:
        before = audit.latest(session)
        assert partitions.strays(session) == 3
    assert partitions.make_ahead(postgresql, now=LATER) == ()
    assert _found_in(postgresql, LATER) == 3
    with postgresql.read() as session:
        assert audit.latest(session) == before
        assert partitions.strays(session) == 0
        assert session.scalar(text("SELECT count(*) FROM audit_pending")) == 3
        assert guards.missing(session) == ()


@pytest.mark.peer
def test_more_than_can_be_moved_at_once_is_left_until_somebody_asks_for_it(postgresql: Database) -> None:
    _record(postgresql, LATER, events=3)
    assert partitions.make_ahead(postgresql, now=LATER, most=2) == (f"{LATER:%Y-%m}",)
    assert partitions.make_ahead(postgresql, now=LATER, most=partitions.ALL) == ()
    assert _found_in(postgresql, LATER) == 3


@pytest.mark.peer
def test_a_month_is_made_while_somebody_writes(postgresql: Database) -> None:
    with postgresql.write() as session:
        audit.record(session, "study:opened", "study/1", actor="test", now=utc_now())
        assert partitions.make_ahead(postgresql, now=LATER) == ()


@pytest.mark.peer
def test_whoever_writes_goes_on_while_a_month_cannot_be_made(postgresql: Database) -> None:
    results: list[tuple[str, ...]] = []
    with postgresql.read() as reader:
        reader.execute(text("SELECT count(*) FROM audit_events"))  # holds every partition until it ends
        making = threading.Thread(target=lambda: results.append(partitions.make_ahead(postgresql, now=LATER)))
        making.start()
        written = 0
        while making.is_alive():
            _record(postgresql, utc_now())
            written += 1
        making.join()
    assert len(results[0]) == partitions.MONTHS_AHEAD + 1
    assert written > partitions.MONTHS_AHEAD + 1  # had they waited, one would have got through for each month
    assert partitions.make_ahead(postgresql, now=LATER) == ()


def test_sqlite_needs_no_months(sqlite_database: Database) -> None:
    assert partitions.make_ahead(sqlite_database, now=LATER) == ()
    with sqlite_database.read() as session:
        assert partitions.lacking(session, now=LATER) == ()
        assert partitions.strays(session) == 0


def test_the_months_of_a_year_s_end() -> None:
    found = partitions.months(datetime(2026, 12, 31, 23, 59, tzinfo=UTC), 2)
    assert [month.isoformat() for month in found] == ["2026-12-01", "2027-01-01", "2027-02-01"]
