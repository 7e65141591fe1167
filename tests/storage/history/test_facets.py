from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from storage import audit
from storage.audit import AuditEvent
from storage.audit_tables import AuditCountRow, AuditPendingRow
from storage.database import Database
from storage.history import facets as facets_module
from storage.history.facets import facets
from storage.history.question import Question

NOW = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)


def write(database: Database, events: int) -> None:
    with database.write() as session:
        for number in range(events):
            tag, actor = ("study:opened", "job:failed")[number % 2], ("a", "b", "c")[number % 3]
            audit.record(session, tag, f"job/{number}", actor=actor, now=NOW + timedelta(hours=3 * number))


def seal(database: Database, events: int) -> None:
    """Count the first events as sealing does, and note them as sealed."""
    with database.write() as session:
        for event in audit.history(session, limit=events):
            for kind, name in (("tag", event.tag), ("actor", event.actor)):
                row = session.get(AuditCountRow, (event.at[:10], kind, name))
                if row is None:
                    session.add(AuditCountRow(day=event.at[:10], kind=kind, name=name, count=1))
                    session.flush()
                else:
                    row.count += 1
            session.delete(session.get_one(AuditPendingRow, event.seq))


@pytest.mark.parametrize("sealed", [0, 13, 20])
@pytest.mark.parametrize("times", [(None, None), (30, None), (None, 40), (26, 50), (2, 50), (3, 4), (30, 20)])
def test_counts_from_sealing_and_the_unsealed_tail_are_those_of_the_events(
    database: Database, sealed: int, times: tuple[int | None, int | None]
) -> None:
    write(database, 20)
    seal(database, sealed)
    since, until = (None if hours is None else NOW + timedelta(hours=hours) for hours in times)
    with database.read() as session:
        found = facets(session, Question(since=since, until=until))
        events = [event for event in audit.history(session) if _within(event, since, until)]
    assert found.is_complete
    assert {one.value: one.count for one in found.actions} == Counter(event.tag for event in events)
    assert {one.value: one.count for one in found.actors} == Counter(event.actor for event in events)
    assert {one.value: one.count for one in found.days} == Counter(event.at[:10] for event in events)


def test_more_events_than_are_counted_are_said_to_be_more(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    write(database, 20)
    monkeypatch.setattr(facets_module, "MOST", 6)
    with database.read() as session:
        found = facets(session, Question(action="job:failed"))
    assert (found.is_complete, [(one.value, one.count) for one in found.actions]) == (False, [("job:failed", 6)])


def _within(event: AuditEvent, since: datetime | None, until: datetime | None) -> bool:
    after = since is None or event.at >= audit.moment(since)
    return after and (until is None or event.at < audit.moment(until))
