"""`oncue audit export`: the events of a span of time, each as one line in the words of a standard."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime, timedelta

from console.history import export
from console.history.export import export_messages
from console.history.export_format import ExportFormat
from storage import audit
from storage.database import Database
from tests.support.audit_events import SOURCE, message_schema

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(database: Database, count: int) -> None:
    with database.write() as session:
        for number in range(count):
            at = NOW + timedelta(minutes=number)
            audit.record(session, "instance:stored", f"instance/1.2.{number}", actor=f"CT{number}", now=at)
            audit.record(session, "job:claimed", f"job/{number}", actor="worker", now=at)


def exported(database: Database, form: ExportFormat, *, first: int = 0, end: int | None = None) -> list[str]:
    out = io.StringIO()
    with database.read() as session:
        since = NOW + timedelta(minutes=first)
        until = None if end is None else NOW + timedelta(minutes=end)
        written = export_messages(session, SOURCE, out, form=form, since=since, until=until)
    lines = out.getvalue().splitlines()
    assert written == len(lines)
    return lines


def test_each_line_is_one_valid_dicom_message_oldest_first(database: Database) -> None:
    record(database, 4)
    lines = exported(database, ExportFormat.DICOM)
    for line in lines:
        message_schema().validate(line)
    assert [re.findall(r'UserID="(CT\d)"', line) for line in lines] == [["CT0"], ["CT1"], ["CT2"], ["CT3"]]


def test_a_span_of_time_has_its_beginning_and_not_its_end(database: Database) -> None:
    record(database, 5)
    found = [json.loads(line)["recorded"][:16] for line in exported(database, ExportFormat.FHIR, first=1, end=3)]
    assert found == ["2026-03-01T12:01", "2026-03-01T12:02"]


def test_events_of_many_pages_are_all_there_once(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        for number in range(export._PAGE + 500):
            audit.record(session, "instance:stored", f"instance/1.2.{number}", actor="CT1", now=NOW)
    ids = [json.loads(line)["id"] for line in exported(sqlite_database, ExportFormat.FHIR)]
    assert len(ids) == len(set(ids)) == export._PAGE + 500
