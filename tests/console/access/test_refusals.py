from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from console.access.refusals import MOST_AN_HOUR, ONE_KIND, RefusalRecord
from storage import audit
from storage.access_errors import TokenMissing, TokenRevoked, TokenUnknown
from storage.database import Database

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def recorded(database: Database) -> list[tuple[str, str, dict[str, object]]]:
    with database.read() as session:
        return [(event.subject, event.actor, json.loads(event.details)) for event in audit.history(session)]


def test_what_is_repeated_is_one_event_and_the_next_says_how_often(database: Database) -> None:
    record = RefusalRecord(database)
    for second in range(100):
        record.note("10.0.0.7", TokenUnknown("no token"), now=NOW + timedelta(seconds=second))
    record.note("10.0.0.7", TokenRevoked("revoked", "anna"), now=NOW)
    record.note("10.0.0.7", TokenUnknown("no token"), now=NOW + ONE_KIND)
    assert recorded(database) == [
        ("token", "web/10.0.0.7", {"address": "10.0.0.7", "code": "token_unknown", "unrecorded": 0}),
        ("token/anna", "web/10.0.0.7", {"address": "10.0.0.7", "code": "token_revoked", "unrecorded": 99}),
        ("token", "web/10.0.0.7", {"address": "10.0.0.7", "code": "token_unknown", "unrecorded": 0}),
    ]


def test_many_addresses_fill_the_history_no_faster_than_one_an_minute(sqlite_database: Database) -> None:
    record = RefusalRecord(sqlite_database)
    for number in range(2000):
        record.note(f"10.0.{number >> 8}.{number & 255}", TokenMissing("none"), now=NOW + timedelta(seconds=number))
    assert len(recorded(sqlite_database)) == MOST_AN_HOUR
    record.note("10.1.0.1", TokenMissing("none"), now=NOW + timedelta(hours=2))
    assert recorded(sqlite_database)[-1][2]["unrecorded"] == 2000 - MOST_AN_HOUR
