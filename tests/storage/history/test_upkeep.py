from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from storage import audit
from storage.database import Database
from storage.history.upkeep import Upkeep
from tests.support.guards import take_off_guards

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_guards_that_were_taken_off_are_put_on_record_once_a_day(database: Database) -> None:
    now = [NOW]
    upkeep = Upkeep(database, actor="process/gateway-1", clock=lambda: now[0])
    upkeep.round()
    with database.read() as session:
        assert audit.latest(session) == ()
    take_off_guards(database)
    for hours in (1, 23, 24, 25):
        now[0] = NOW + timedelta(hours=hours)
        upkeep.round()
    if database.engine.dialect.name == "postgresql":  # what was taken off notes nothing either
        with database.write() as session:
            session.execute(text("ALTER TABLE audit_events ENABLE TRIGGER USER"))
    with database.read() as session:
        (event,) = audit.history(session, tag="audit:guards-missing")
    assert event.actor == "process/gateway-1"
    assert "audit_events_no_" in json.loads(event.details)["guards"]
