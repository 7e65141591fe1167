from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from storage import audit
from storage.database import Database, connect
from storage.errors import OncueError
from tests.support.proving import problems

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def _record(database: Database, events: int) -> None:
    for number in range(events):
        with database.write() as session:
            audit.record(session, "test:done", f"thing/{number}", actor="test", now=NOW, details={"n": number})


@pytest.mark.parametrize("statement", ["UPDATE audit_events SET tag = 'x'", "DELETE FROM audit_events"])
def test_the_database_refuses_to_change_history(database: Database, statement: str) -> None:
    _record(database, 2)
    with pytest.raises((OncueError, DBAPIError)), database.write() as session:
        session.execute(text(statement))
    with database.read() as session:
        assert [event.tag for event in audit.history(session)] == ["test:done", "test:done"]


def test_many_writers_at_once_write_every_event_once(database_url: str) -> None:
    def write() -> None:
        database = connect(database_url)
        _record(database, 20)
        database.dispose()

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    database = connect(database_url)
    assert problems(database) == ()
    with database.read() as session:
        found = audit.history(session, limit=200)
    database.dispose()
    assert sorted(event.subject for event in found) == sorted(
        f"thing/{number}" for number in range(20) for _ in range(4)
    )
    assert len({event.seq for event in found}) == 80


def test_what_events_are_found_by_stands_beside_their_details(database: Database) -> None:
    with database.write() as session:
        study = audit.ConcernedStudy("1.2.3", "ab" * 16)
        details = {"route": "head-mr", "model": "zero-shot", "weights": "ef" * 32, "code": "out_of_memory"}
        audit.record(session, "job:failed", "job/1", actor="w", now=NOW, details=details, study=study)
    with database.read() as session:
        (event,) = audit.history(session)
    assert (event.study, event.patient_key, event.outcome) == ("1.2.3", "ab" * 16, "failed")
    assert (event.route, event.model, event.weights) == ("head-mr", "zero-shot", "ef" * 32)
    assert event.at == "2026-03-01T12:00:00.000000+00:00"


def test_an_event_of_a_transaction_that_fails_is_not_in_the_chain(database: Database) -> None:
    def write_and_fail() -> None:
        with database.write() as session:
            audit.record(session, "test:done", "thing/1", actor="test", now=NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with database.read() as session:
        assert audit.history(session) == ()
