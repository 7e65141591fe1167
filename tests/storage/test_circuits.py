"""The circuit of a destination, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from storage import audit, circuits
from storage.backoff import no_jitter
from storage.circuits import CircuitState, Fault, Signal
from storage.database import Database

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PACS, ARCHIVE = "PACS@10.0.0.1:104", "ARCHIVE@10.0.0.2:104"
DOWN = Fault("peer_unreachable", "it does not answer")


def _fail(database: Database, *, signal: Signal = Signal.UNREACHABLE, now: datetime = NOW) -> CircuitState:
    with database.write() as session:
        return circuits.failed(session, PACS, signal, DOWN, draw=no_jitter, now=now)


def _admit(database: Database, *, now: datetime) -> CircuitState:
    with database.write() as session:
        return circuits.admit(session, PACS, trial_seconds=60, now=now)


def _state(database: Database, *, now: datetime) -> CircuitState:
    with database.read() as session:
        return circuits.state_of(session, PACS, now=now)


def _events(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        return [(event.tag, event.subject) for event in audit.history(session) if event.tag.startswith("circuit:")]


def test_every_state_knows_what_every_signal_means() -> None:
    assert set(circuits.STEPS) == {(state, signal) for state in CircuitState for signal in Signal}


def test_a_destination_that_cannot_be_reached_is_shut_off_and_no_other(database: Database) -> None:
    assert _fail(database) is CircuitState.CLOSED
    with database.read() as session:
        assert circuits.shut_off(session, now=NOW) == {PACS: NOW + timedelta(seconds=5)}
        (one,) = circuits.listed(session, now=NOW)
    assert (one.state, one.failures, one.fault) == (CircuitState.OPEN, 1, DOWN)
    assert _admit(database, now=NOW) is CircuitState.OPEN
    assert _events(database) == [("circuit:opened", f"destination/{PACS}")]


def test_trials_that_fail_become_rarer_and_write_no_event(database: Database) -> None:
    now, waits = NOW, []
    for _ in range(8):
        _fail(database, now=now)
        with database.read() as session:
            until = circuits.shut_off(session, now=now)[PACS]
        waits.append((until - now).total_seconds())
        now = until
    assert waits == [5, 10, 20, 40, 80, 120, 120, 120]
    assert len(_events(database)) == 1


def test_a_half_open_circuit_lets_one_batch_through(database: Database) -> None:
    _fail(database)
    later = NOW + timedelta(seconds=5)
    assert _admit(database, now=later) is CircuitState.HALF_OPEN
    assert _admit(database, now=later) is CircuitState.OPEN
    with database.read() as session:
        assert circuits.shut_off(session, now=later) == {PACS: later + timedelta(seconds=60)}
    # Whoever tried it and died says nothing: another one may after a while.
    assert _admit(database, now=later + timedelta(seconds=60)) is CircuitState.HALF_OPEN


def test_an_answer_closes_it_and_failures_are_counted_anew(database: Database) -> None:
    _fail(database)
    later = NOW + timedelta(seconds=5)
    with database.write() as session:
        assert circuits.served(session, PACS, now=later)
        assert not circuits.served(session, PACS, now=later)
    assert _state(database, now=later) is CircuitState.CLOSED
    assert [tag for tag, _ in _events(database)] == ["circuit:opened", "circuit:closed"]
    _fail(database, now=later)
    with database.read() as session:
        assert circuits.shut_off(session, now=later) == {PACS: later + timedelta(seconds=5)}


def test_a_person_closes_an_open_one_by_name(database: Database) -> None:
    _fail(database)
    with database.write() as session:
        assert circuits.release(session, PACS, actor="cli:anna", now=NOW)
        assert not circuits.release(session, ARCHIVE, actor="cli:anna", now=NOW)
    assert _admit(database, now=NOW) is CircuitState.CLOSED
    with database.read() as session:
        assert audit.history(session, tag="circuit:closed")[0].actor == "cli:anna"


def test_answers_that_settle_nothing_open_it_the_third_time_in_a_row(database: Database) -> None:
    for _ in range(2):
        _fail(database, signal=Signal.UNSERVED)
    with database.write() as session:
        assert not circuits.served(session, PACS, now=NOW)  # it had not been open, and is no event
    states = []
    for _ in range(3):
        _fail(database, signal=Signal.UNSERVED)
        states.append(_state(database, now=NOW))
    assert states == [CircuitState.CLOSED, CircuitState.CLOSED, CircuitState.OPEN]


def test_batches_that_had_begun_before_it_opened_do_not_lengthen_its_pause(database: Database) -> None:
    _fail(database)
    assert _fail(database, now=NOW + timedelta(seconds=1)) is CircuitState.OPEN
    with database.read() as session:
        assert circuits.shut_off(session, now=NOW) == {PACS: NOW + timedelta(seconds=5)}


def test_the_longest_address_has_its_event(database: Database) -> None:
    name = f"PACS@{'h' * 253}.example:11112"
    with database.write() as session:
        circuits.failed(session, name, Signal.UNREACHABLE, DOWN, draw=no_jitter, now=NOW)
    with database.read() as session:
        (event,) = audit.history(session, tag="circuit:opened")
    assert name in event.details
