"""Whatever is sealed reaches the syslog server, in the order of the log, through the ends of either side."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_gateway.audit_messages.forwarding import Forwarder, forwarding_loop
from dicom_gateway.audit_messages.syslog_server import SyslogServer, Transport
from storage import audit, audit_forwards
from storage.audit_forwards import Backlog
from storage.database import Database
from storage.errors import LeaseLost
from tests.support.audit_events import SOURCE
from tests.support.certificates import Authority
from tests.support.peers import free_port
from tests.support.proving import seal
from tests.support.syslog_receiver import SyslogReceiver, syslog_receiver

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_ACTOR = re.compile(r'ActiveParticipant UserID="(CT\d+)"')


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def forwarder(database: Database, port: int, *, clock: Clock | None = None, batch: int = 500) -> Forwarder:
    made = Forwarder(
        database,
        SyslogServer(Transport.TCP, "127.0.0.1", port),
        SOURCE,
        owner="test",
        clock=clock or Clock(),
        batch=batch,
    )
    made.begin()
    return made


def record(database: Database, *numbers: int) -> None:
    """Record a received image for each number, each in a transaction of its own."""
    for number in numbers:
        with database.write() as session:
            audit.record(session, "instance:stored", f"instance/1.2.{number}", actor=f"CT{number}", now=NOW)


def received(receiver: SyslogReceiver) -> list[int]:
    found = [_ACTOR.search(item.text) for item in receiver.all_so_far()]
    return [int(actor[1].removeprefix("CT")) for actor in found if actor is not None]


def backlog(database: Database, port: int) -> Backlog:
    with database.read() as session:
        found = audit_forwards.backlog(session, f"tcp://127.0.0.1:{port}")
    assert found is not None
    return found


def run_out(forwarder: Forwarder) -> None:
    """Forward until nothing is left to be sent now."""
    while forwarder.round() is not None:
        pass


def test_events_arrive_once_and_in_the_order_of_the_log(database: Database) -> None:
    with syslog_receiver() as receiver:
        sender = forwarder(database, receiver.port, batch=3)
        record(database, *range(10))
        run_out(sender)
        assert received(receiver) == []  # not sealed yet
        seal(database)
        run_out(sender)
        run_out(sender)
        assert received(receiver) == list(range(10))
        assert backlog(database, receiver.port).events == 0


def test_a_server_that_is_down_gets_everything_when_it_is_back(database: Database) -> None:
    port, clock = free_port(), Clock()
    sender = forwarder(database, port, clock=clock)
    record(database, 1, 2)
    seal(database)
    run_out(sender)
    assert (backlog(database, port).events, backlog(database, port).code) == (2, "syslog_unreachable")
    record(database, 3)
    seal(database)
    with syslog_receiver(port=port) as receiver:
        run_out(sender)
        assert received(receiver) == []  # it waits before it tries again
        clock.move(11)
        run_out(sender)
        assert received(receiver) == [1, 2, 3]
    assert backlog(database, port) == Backlog(0, 0, None, None)


def test_the_pause_doubles_and_never_ends_in_giving_up(database: Database) -> None:
    port, clock = free_port(), Clock()
    sender = forwarder(database, port, clock=clock)
    record(database, 1)
    seal(database)
    for attempt in range(1, 12):
        run_out(sender)
        assert backlog(database, port).attempts == attempt
        pause = min(10 * 2 ** (attempt - 1), 300)
        clock.move(pause - 1)
        run_out(sender)
        assert backlog(database, port).attempts == attempt
        clock.move(1)


def test_a_server_that_dies_in_mid_stream_gets_the_rest_and_nothing_is_lost(database: Database) -> None:
    clock = Clock()
    with syslog_receiver(keeps=5) as receiver:
        port = receiver.port
        sender = forwarder(database, port, clock=clock)
        record(database, *range(300))
        seal(database)
        run_out(sender)
        before = received(receiver)
    assert before == list(range(5))
    clock.move(11)
    with syslog_receiver(port=port) as receiver:
        run_out(sender)
        after = received(receiver)
    assert after == list(range(300))  # at least once: the first five come again


def test_a_gateway_that_starts_again_goes_on_where_the_last_one_was(database: Database) -> None:
    with syslog_receiver() as receiver:
        first = forwarder(database, receiver.port, batch=2)
        record(database, *range(6))
        seal(database)
        first.round()
        second = forwarder(database, receiver.port, batch=2)
        run_out(second)
        assert received(receiver) == list(range(6))


def test_a_new_server_gets_what_is_sealed_from_then_on(database: Database) -> None:
    record(database, 1)
    seal(database)
    with syslog_receiver() as receiver:
        sender = forwarder(database, receiver.port)
        record(database, 2)
        seal(database)
        run_out(sender)
        assert received(receiver) == [2]


@pytest.mark.peer
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_event_of_a_transaction_that_stays_open_is_not_passed_over(database: Database) -> None:
    with syslog_receiver() as receiver:
        sender = forwarder(database, receiver.port)
        with database.write() as slow:
            audit.record(slow, "instance:stored", "instance/1.2.1", actor="CT1", now=NOW)
            record(database, 2)
            seal(database)
            run_out(sender)
            assert received(receiver) == [2]
        seal(database)
        run_out(sender)
        assert received(receiver) == [1]


def test_of_two_gateways_one_sends_and_one_that_was_too_slow_does_not_move_the_place(database: Database) -> None:
    with syslog_receiver() as receiver:
        sender = forwarder(database, receiver.port)
        record(database, 1)
        seal(database)
        destination = f"tcp://127.0.0.1:{receiver.port}"
        with database.write() as session:
            assert audit_forwards.take(session, destination, owner="other", now=NOW) == 0
        assert sender.round() is None
        later = NOW + timedelta(seconds=audit_forwards.LEASE_SECONDS + 1)
        with database.write() as session:
            assert audit_forwards.take(session, destination, owner="test", now=later) == 0
        with database.write() as session, pytest.raises(LeaseLost):
            audit_forwards.advance(session, destination, 1, owner="other", now=later)
        run_out(sender)
        assert received(receiver) == [1]


@pytest.mark.slow
def test_the_loop_sends_over_tls_soon_after_sealing(sqlite_database: Database, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with syslog_receiver(identity=authority.issue("localhost", address="127.0.0.1")) as receiver:
        server = SyslogServer(Transport.TLS, "127.0.0.1", receiver.port, ca=authority.certificate)
        sender = Forwarder(sqlite_database, server, SOURCE, owner="test")
        sender.begin()
        loop = forwarding_loop(sender)
        loop.start()
        record(sqlite_database, 1)
        seal(sqlite_database)
        assert "CT1" in receiver.next().text
        loop.stop()
        loop.join()
