"""How long urgent studies took: medians and tails by route, day, channel and priority."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from storage.announcing import urgent_studies, waiting_times
from storage.announcing.tables import OpenedThrough
from storage.announcing.waiting_times import NO_CHANNEL, Span, TimesAsked, TimesBy, TimesReport
from storage.database import Database
from storage.domain import Priority
from storage.objects import ObjectStore
from tests.support.records import NOW, queued_study
from tests.support.urgent import analyse


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def study(database: Database, objects: ObjectStore, number: int, *moments: float, priority: Priority) -> None:
    """Record a study that was analysed, announced and opened so many seconds after its last image; as far as said."""
    analyse(database, objects, queued_study(database, number).job_id, now=later(moments[0]), priority=priority)
    with database.write() as session:
        for at in moments[1:2]:
            urgent_studies.announced(session, number, channel="ris", priority=priority, now=later(at))
        for at in moments[2:]:
            urgent_studies.opened(session, number, by="a", through=OpenedThrough.MARK, now=later(at))


def asked(database: Database, **values: object) -> TimesReport:
    known: dict[str, object] = {"since": NOW, "by": TimesBy.PRIORITY}
    with database.read() as session:
        return waiting_times.report(session, TimesAsked(**(known | values)))  # type: ignore[arg-type]  # any field


@pytest.fixture
def recorded(database: Database, objects: ObjectStore) -> Database:
    study(database, objects, 1, 100, 110, 400, priority=Priority.STAT)
    study(database, objects, 2, 200, 220, 600, priority=Priority.STAT)
    study(database, objects, 3, 300, 330, priority=Priority.STAT)
    study(database, objects, 4, 90_000, priority=Priority.HIGH)
    return database


def test_each_moment_is_measured_from_the_last_image(recorded: Database) -> None:
    report = asked(recorded)
    high, stat = report.groups
    assert (high.group, stat.group) == ("HIGH", "STAT")
    assert stat.analysed == Span(3, 200, 290, 0)
    assert stat.announced == Span(3, 220, 319, 0)
    assert stat.opened == Span(2, 500, 590, 0)
    assert (stat.studies, stat.unopened) == (3, 1)
    assert high.announced == Span(0, None, None, 0)
    assert (report.total.group, report.total.studies, report.total.unopened) == (None, 4, 2)


def test_groups_are_routes_days_or_channels(recorded: Database) -> None:
    assert [(one.group, one.studies) for one in asked(recorded, by=TimesBy.DAY).groups] == [
        ("2026-03-01", 3), ("2026-03-02", 1),
    ]  # fmt: skip # reads by its lines
    assert [(one.group, one.studies) for one in asked(recorded, by=TimesBy.CHANNEL).groups] == [
        (NO_CHANNEL, 1), ("ris", 3),
    ]  # fmt: skip # reads by its lines
    assert [one.studies for one in asked(recorded, by=TimesBy.ROUTE).groups] == [4]


def test_only_what_was_analysed_in_the_span_counts(recorded: Database) -> None:
    assert asked(recorded, since=later(200)).total.studies == 3
    assert asked(recorded, since=later(200), until=later(300)).total.studies == 1
    empty = asked(recorded, since=later(1_000_000))
    assert (empty.groups, empty.total.studies, empty.total.opened.median_seconds) == ((), 0, None)


def test_moments_out_of_order_are_left_out_and_counted(database: Database, objects: ObjectStore) -> None:
    study(database, objects, 1, 100, 40, 160, priority=Priority.STAT)
    study(database, objects, 2, -50, 10, 20, priority=Priority.STAT)
    total = asked(database, since=later(-100)).total
    assert total.analysed == Span(1, 100, 100, 1)
    assert total.announced == Span(1, 10, 10, 1)
    assert total.opened == Span(2, 90, 153, 0)
