"""Tampering with any part of the stored log is named: events, leaves, tiles, checkpoints, counts, tail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from storage import audit
from storage.database import Database
from storage.history import sealing
from storage.history.checkpoint_text import Checkpoint, open_checkpoint
from storage.history.note_keys import SigningKey
from storage.history.verification import Trusted, Verification, verify
from tests.support.guards import guards_off

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = SigningKey("oncue-test", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def record(database: Database, events: int, *, start: int = 0) -> None:
    with database.write() as session:
        for number in range(start, start + events):
            at = NOW + timedelta(hours=number)
            audit.record(session, "test:done", f"thing/{number}", actor="test", now=at, details={"n": number})


def seal(database: Database, *, now: datetime = NOW) -> sealing.Sealed | None:
    with database.write() as session:
        return sealing.seal(session, KEY, owner="sealer", now=now)


def verified(database: Database, *, since: Checkpoint | None = None, trusted: tuple[Trusted, ...] = ()) -> Verification:
    with database.snapshot() as session:
        return verify(session, KEY.verifier, since=since, trusted=trusted)


def tamper(database: Database, *statements: str) -> None:
    with guards_off(database), database.write() as session:
        for statement in statements:
            session.execute(text(statement))


def checkpoint(database: Database) -> Checkpoint:
    with database.read() as session:
        row = sealing.newest_checkpoint(session)
        assert row is not None
        return open_checkpoint(row.note, KEY.verifier).checkpoint


def test_a_log_that_nobody_touched_is_proved_whole(database: Database) -> None:
    for start in range(0, 900, 300):
        record(database, 300, start=start)
        seal(database, now=NOW + timedelta(minutes=start))
    record(database, 2, start=900)
    found = verified(database)
    assert (found.problems, found.proved, found.size, found.unsealed) == ((), 900, 900, 2)
    assert found.root == checkpoint(database).root.hex()


def test_only_what_came_since_a_checkpoint_is_proved_again(database: Database) -> None:
    record(database, 300)
    seal(database)
    before = checkpoint(database)
    record(database, 50, start=300)
    seal(database)
    found = verified(database, since=before)
    assert (found.problems, found.proved, found.since) == ((), 50, 300)


def test_what_is_sealed_meanwhile_is_no_problem(database: Database) -> None:
    record(database, 300)
    seal(database)

    def seal_more(_done: int, _total: int) -> None:
        record(database, 5, start=300)
        seal(database)

    with database.snapshot() as session:
        found = verify(session, KEY.verifier, on_progress=seal_more)
    assert (found.problems, found.proved, found.size) == ((), 300, 300)


def test_two_sealers_take_turns_and_the_second_follows_when_the_first_is_gone(database: Database) -> None:
    record(database, 3)
    assert seal(database) is not None
    record(database, 1, start=3)
    with database.write() as session:
        assert sealing.seal(session, KEY, owner="other", now=NOW) is None
    with database.read() as session:
        assert not sealing.is_due(session, owner="other", now=NOW)
    later = NOW + timedelta(seconds=sealing.LEASE_SECONDS + 1)
    with database.write() as session:
        sealed = sealing.seal(session, KEY, owner="other", now=later)
    assert sealed is not None
    assert (sealed.events, sealed.size) == (1, 4)
    assert verified(database).problems == ()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE audit_events SET details = '{}' WHERE seq = 3", "event 3 (leaf 2) was changed"),
        ("UPDATE audit_events SET patient_key = 'x' WHERE seq = 4", "event 4 (leaf 3) was changed"),
        ("UPDATE audit_events SET at = '2020' WHERE seq = 5", "event 5 (leaf 4) was changed"),
        ("DELETE FROM audit_events WHERE seq = 2", "event 2 (leaf 1) is missing"),
        ("DELETE FROM audit_leaves WHERE number = 6", "leaf 6 of the log is missing"),
        ("DELETE FROM audit_leaves WHERE number >= 290", "its end was cut off"),
        ("UPDATE audit_log SET size = 299", "newest checkpoint is of 300"),
        ("DELETE FROM audit_checkpoints", "its newest checkpoint is of 0"),
        ("UPDATE audit_checkpoints SET root = 'x'", "says something else than its row"),
        ("UPDATE audit_checkpoints SET note = replace(note, '300', '301')", "checkpoint of 300 events"),
        ("DELETE FROM audit_tiles WHERE level = 0 AND number = 0", "event 1 (leaf 0) was changed"),
        ("DELETE FROM audit_tiles WHERE level = 1", "level 1"),
        ("DELETE FROM audit_counts", "counts of events"),
        ("DELETE FROM audit_events WHERE seq = 301", "event 301 was noted before it was sealed, and is missing"),
        ("DELETE FROM audit_pending", "event 301 was put in beside the log"),
    ],
)
def test_what_was_tampered_with_is_named(database: Database, statement: str, named: str) -> None:
    record(database, 300)
    seal(database)
    record(database, 1, start=300)
    tamper(database, statement)
    assert named in " / ".join(verified(database).problems)


def test_two_events_in_each_others_place_are_named(database: Database) -> None:
    record(database, 10)
    seal(database)
    tamper(
        database,
        "UPDATE audit_leaves SET seq = -1 WHERE number = 3",
        "UPDATE audit_leaves SET seq = 4 WHERE number = 7",
        "UPDATE audit_leaves SET seq = 8 WHERE number = 3",
    )
    assert "event 8 (leaf 3) was changed, or put in another's place" in verified(database).problems[0]


def test_a_tail_cut_off_with_its_checkpoints_does_not_agree_with_a_witness(database: Database) -> None:
    record(database, 5)
    seal(database)
    record(database, 5, start=5)
    seal(database, now=NOW + timedelta(minutes=5))
    witness = Trusted("the checkpoint file", checkpoint(database))
    assert verified(database, trusted=(witness,)).problems == ()
    _rebuilt(database, 5)
    assert verified(database).problems == ()  # nothing inside tells
    (problem,) = verified(database, trusted=(witness,)).problems
    assert "the checkpoint file has a checkpoint of 10 events, the log has 5: its end was cut off" in problem


def test_a_history_that_was_rebuilt_with_the_stolen_key_does_not_agree_with_a_witness(database: Database) -> None:
    record(database, 8)
    seal(database)
    witness = Trusted("the checkpoint file", checkpoint(database))
    tamper(database, "UPDATE audit_events SET actor = 'nobody' WHERE seq = 2")
    _rebuilt(database, 8)
    assert verified(database).problems == ()
    (problem,) = verified(database, trusted=(witness,)).problems
    assert "the checkpoint file has another root at 8 events: the log was forked or rebuilt" in problem


def test_a_log_of_another_key_is_named(database: Database) -> None:
    record(database, 2)
    seal(database)
    other = SigningKey("oncue-test", Ed25519PrivateKey.generate())
    with database.read() as session:
        assert "the checkpoint of 2 events" in verify(session, other.verifier).problems[0]


COLUMNS = ("at", "tag", "subject", "actor", "outcome", "study", "patient_key", "route", "model", "weights", "details")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    batches=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    column=st.sampled_from(COLUMNS),
)
def test_any_column_of_any_event_of_any_history(
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_template: Path,
    data: st.DataObject,
    batches: list[int],
    column: str,
) -> None:
    from storage.database import connect

    file = tmp_path_factory.mktemp("log") / "oncue.sqlite"
    file.write_bytes(sqlite_template.read_bytes())
    database = connect(f"sqlite:///{file}")
    total = 0
    for events in batches:
        record(database, events, start=total)
        seal(database)
        total += events
    seq = data.draw(st.integers(1, total))
    assert verified(database).problems == ()
    tamper(database, f"UPDATE audit_events SET {column} = 'other' WHERE seq = {seq}")  # noqa: S608 - columns of ours
    assert f"event {seq} (leaf {seq - 1}) was changed" in verified(database).problems[0]
    database.dispose()


def _rebuilt(database: Database, events: int) -> None:
    """Seal the first events anew, as somebody would who has the key and owns the database."""
    tamper(
        database,
        f"DELETE FROM audit_events WHERE seq > {events}",  # noqa: S608 - a number
        "DELETE FROM audit_leaves",
        "DELETE FROM audit_tiles",
        "DELETE FROM audit_checkpoints",
        "DELETE FROM audit_counts",
        "DELETE FROM audit_pending",
        "INSERT INTO audit_pending (seq) SELECT seq FROM audit_events",
        "UPDATE audit_log SET size = 0",
    )
    assert seal(database) is not None
