from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from storage import audit, peer_usage, peers, refused_peers
from storage.database import Database
from storage.domain import Lane
from storage.errors import RecordExists, RecordMissing
from storage.peer_usage import Usage
from storage.peers import PeerEntry, Quotas, Service
from storage.refused_peers import MOST, MOST_OF_AN_ADDRESS, Attempts, RefusedPeer

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
CT = PeerEntry(
    "ct1",
    "CT1",
    called_aet="TRIAGE",
    network="10.20.0.0/16",
    certificate_name="ct1.example.org",
    services=frozenset({Service.STORAGE}),
    sop_classes=frozenset({"1.2.840.10008.5.1.4.1.1.2"}),
    lane=Lane.STAT,
    quotas=Quotas(associations=1, images=2, megabytes=3),
    query_address="PACS@10.20.0.2:104",
)


def _add(database: Database, entry: PeerEntry) -> None:
    with database.write() as session:
        peers.add(session, entry, actor="cli:jones", now=NOW)


def _events(database: Database, tag: str) -> list[audit.AuditEvent]:
    with database.read() as session:
        return [*audit.history(session, tag=tag, limit=1000)]


def test_an_entry_is_read_back_as_it_was_written(database: Database) -> None:
    _add(database, CT)
    _add(database, PeerEntry("mr", "MR"))
    with database.read() as session:
        assert peers.entries(session) == (CT, PeerEntry("mr", "MR"))
        recorded = peers.find(session, "ct1")
    assert (recorded.added_by, recorded.added_at, recorded.last_seen_at) == ("cli:jones", NOW, None)


def test_every_change_of_an_entry_is_an_event_that_names_who_made_it(database: Database) -> None:
    _add(database, CT)
    with database.write() as session:
        peers.set_allowed(session, "ct1", allowed=False, actor="cli:smith", now=NOW)
        peers.set_allowed(session, "ct1", allowed=False, actor="cli:smith", now=NOW)
        peers.replace(session, replace(CT, network="10.30.0.0/16"), actor="cli:smith", now=NOW)
        peers.remove(session, "ct1", actor="cli:smith", now=NOW)
    (added,), changed, (removed,) = (_events(database, f"peer:{verb}") for verb in ("added", "changed", "removed"))
    assert (added.subject, added.actor, len(changed), removed.actor) == ("peer/ct1", "cli:jones", 2, "cli:smith")
    assert '"network":"10.20.0.0/16"' in added.details
    assert '"allowed":false' in changed[0].details
    assert '"network":"10.30.0.0/16"' in changed[1].details


def test_a_name_that_is_taken_and_a_second_entry_for_the_same_caller_are_refused(database: Database) -> None:
    _add(database, CT)
    with pytest.raises(RecordExists, match="--replace"):
        _add(database, replace(CT, calling_aet="CT2"))
    with pytest.raises(RecordExists, match="peer ct1 describes the same caller"):
        _add(database, replace(CT, name="ct2", lane=Lane.BATCH))
    with database.write() as session, pytest.raises(RecordMissing, match="oncue peers list"):
        peers.remove(session, "ct2", actor="cli:jones", now=NOW)


def test_where_a_peer_answers_is_found_by_its_title_unless_it_is_kept_out(database: Database) -> None:
    _add(database, PeerEntry("a", "CT1", network="10.0.0.1/32"))
    _add(database, CT)
    with database.write() as session:
        assert peers.query_address(session, "CT1") == "PACS@10.20.0.2:104"
        assert peers.query_address(session, "MR") is None
        peers.set_allowed(session, "ct1", allowed=False, actor="cli:jones", now=NOW)
        assert peers.query_address(session, "CT1") is None


def _attempts(title: str, address: str = "10.9.9.9", code: str = "calling_aet_unknown", minutes: int = 0) -> Attempts:
    at = NOW + timedelta(minutes=minutes)
    return Attempts(title, "ONCUE", address, code, 1, at, at)


def _note(database: Database, *attempts: Attempts, events: int = 100, now: datetime = NOW) -> int:
    with database.write() as session:
        return len(refused_peers.note(session, attempts, events=events, now=now))


def _refused(database: Database) -> tuple[RefusedPeer, ...]:
    with database.read() as session:
        return refused_peers.listed(session)


def test_a_caller_that_is_turned_away_again_is_one_row_and_one_event(database: Database) -> None:
    assert _note(database, _attempts("EVIL")) == 1
    for minute in range(1, 5):
        assert _note(database, _attempts("EVIL", minutes=minute)) == 0
    (row,) = _refused(database)
    assert (row.count, row.first_at, row.last_at) == (5, NOW, NOW + timedelta(minutes=4))
    assert len(_events(database, "association:refused")) == 1


def test_another_reason_and_another_day_are_news(database: Database) -> None:
    _note(database, _attempts("EVIL"))
    assert _note(database, _attempts("EVIL", code="called_aet_unknown")) == 1
    assert _note(database, _attempts("EVIL", code="called_aet_unknown"), now=NOW + timedelta(hours=23)) == 0
    assert _note(database, _attempts("EVIL", code="called_aet_unknown"), now=NOW + timedelta(hours=25)) == 1
    assert [row.code for row in _refused(database)] == ["called_aet_unknown"]


def test_rows_stay_few_and_one_address_cannot_push_the_others_out(database: Database) -> None:
    _note(database, _attempts("STRANGER", "10.1.1.1"))
    _note(database, *(_attempts(f"EVIL{number}", minutes=number) for number in range(60)), events=5)
    rows = _refused(database)
    assert len(rows) == MOST_OF_AN_ADDRESS + 1
    assert rows[0].calling_aet == "EVIL59"
    assert rows[-1].calling_aet == "STRANGER"
    assert len(_events(database, "association:refused")) == 1 + 5
    _note(database, *(_attempts("EVIL", f"10.{n // 200}.2.{n % 200}", minutes=n) for n in range(MOST + 10)), events=0)
    assert len(_refused(database)) == MOST


def test_an_entry_takes_its_title_off_the_list_of_those_turned_away(database: Database) -> None:
    _note(database, _attempts("CT1"), _attempts("MR"))
    _add(database, CT)
    assert [row.calling_aet for row in _refused(database)] == ["MR"]


def test_what_several_gateways_count_adds_up_and_hours_that_are_over_go(database: Database) -> None:
    hour = peer_usage.hour_of(NOW)
    for _ in range(2):
        with database.write() as session:
            peer_usage.add(session, {(hour, "ct1"): Usage(1, 10, 5_000_000_000)}, now=NOW)
    with database.read() as session:
        assert peer_usage.of_hour(session, hour) == {"ct1": Usage(2, 20, 10_000_000_000)}
    with database.write() as session:
        peer_usage.add(session, {}, now=NOW + timedelta(hours=3))
        assert peer_usage.of_hour(session, hour) == {}
