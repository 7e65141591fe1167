"""A log that is proved in ranges, by several processes, is found to be what one walk along it finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from storage import audit
from storage.database import Database
from storage.history import sealing, tiles
from storage.history.leaf_ranges import LeafRange, ProvedRange
from storage.history.note_keys import SigningKey
from storage.history.provers import proved_ranges
from storage.progress import unheard
from tests.support.guards import guards_off

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = SigningKey("oncue-test", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
EVENTS = 1000


@pytest.fixture
def sealed(database: Database) -> Database:
    """Database with a thousand events, four tiles, all sealed."""
    with database.write() as session:
        for number in range(EVENTS):
            at = NOW + timedelta(minutes=number)
            audit.record(session, "test:done", f"thing/{number}", actor="test", now=at)
    with database.write() as session:
        sealing.seal(session, KEY, owner="sealer", now=NOW)
    return database


def found(database: Database, wanted: LeafRange, *, processes: int) -> list[ProvedRange]:
    with database.snapshot() as session:
        ranges = proved_ranges(session, wanted, on_progress=unheard, processes=processes, leaves=tiles.WIDTH)
        return list(ranges)


@pytest.mark.parametrize("processes", [1, 2])
def test_ranges_cover_the_log_and_begin_with_a_tile(sealed: Database, processes: int) -> None:
    ranges = found(sealed, LeafRange(100, EVENTS), processes=processes)
    assert [(one.range.start, one.reached) for one in ranges] == [(100, 256), (256, 512), (512, 768), (768, 1000)]
    assert sum(one.proved for one in ranges) == EVENTS - 100
    assert all(one.is_whole and not one.problems for one in ranges)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_was_tampered_with_is_named_by_its_own_range(sealed: Database, processes: int) -> None:
    with guards_off(sealed), sealed.write() as session:
        session.execute(text("UPDATE audit_events SET actor = 'x' WHERE seq = 601"))
        session.execute(text("DELETE FROM audit_leaves WHERE number = 900"))
    ranges = found(sealed, LeafRange(0, EVENTS), processes=processes)
    assert [bool(one.problems) for one in ranges] == [False, False, True, True]
    assert "event 601 (leaf 600) was changed" in ranges[2].problems[0]
    assert (ranges[3].reached, ranges[3].is_whole) == (900, False)
    assert "leaf 900 of the log is missing" in ranges[3].problems[0]


def test_progress_ends_at_the_end(sealed: Database) -> None:
    told: list[tuple[int, int]] = []
    with sealed.snapshot() as session:
        wanted = LeafRange(0, EVENTS)
        list(proved_ranges(session, wanted, on_progress=lambda *place: told.append(place), leaves=tiles.WIDTH))
    assert told == [(256, EVENTS), (512, EVENTS), (768, EVENTS), (EVENTS, EVENTS)]
