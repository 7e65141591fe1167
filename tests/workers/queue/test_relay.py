"""The relay against a real Redis, on both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from storage import audit, job_lists, job_messages, jobs, processes
from storage.database import Database, connect, utc_now
from storage.domain import Lane, StoredInstance
from storage.fewshot import fit_requests
from storage.fewshot.fit_requests import LEASE_SECONDS, RequestKind, Wish
from storage.states import JobState
from tests.support.classification import new_task
from tests.support.queued import queue_study
from workers.config import WorkerSettings
from workers.errors import BrokerUnavailable
from workers.queue.app import make_app
from workers.queue.embedded_redis import EmbeddedRedis
from workers.queue.publisher import Publisher
from workers.queue.relay import Relay

pytestmark = pytest.mark.peer
MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    broker = EmbeddedRedis(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def settings(broker: EmbeddedRedis) -> WorkerSettings:
    return WorkerSettings(broker_url=SecretStr(broker.endpoint.url), relay_seconds=0.05, republish_seconds=0.2)


@pytest.fixture
def publisher(settings: WorkerSettings) -> Iterator[Publisher]:
    publisher = Publisher(make_app(settings))
    yield publisher
    publisher.close()


@pytest.fixture
def relay(database: Database, publisher: Publisher, settings: WorkerSettings) -> Relay:
    return Relay(database, publisher, settings, process_id="relay-1")


def _queue(database: Database, study: str = "1.2.3", lane: Lane = Lane.ROUTINE) -> int:
    instance = StoredInstance(study, "1.2.4", f"{study}.5", MR, "1.2.840.10008.1.2.1", "MR", "a" * 64, "b" * 64, 10)
    return queue_study(database, [instance], lane=lane)


def _job(database: Database, job_id: int) -> job_lists.Job:
    with database.read() as session:
        return job_lists.find(session, job_id)


def test_each_job_is_published_once_into_its_lane(database: Database, relay: Relay, publisher: Publisher) -> None:
    _queue(database, "1.2.3", Lane.STAT)
    _queue(database, "1.2.4", Lane.BATCH)
    assert relay.publish() == 2
    assert relay.publish() == 0
    assert [publisher.is_empty(lane) for lane in Lane] == [False, True, False]


def test_two_relays_at_once_publish_a_job_once(database: Database, relay: Relay, settings: WorkerSettings) -> None:
    job_id = _queue(database)
    other = Relay(database, Publisher(make_app(settings)), settings, process_id="relay-2")
    threads = [threading.Thread(target=each.publish) for each in (relay, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert len(audit.history(session, subject=f"job/{job_id}", tag="job:published")) == 1


def test_a_job_stays_unpublished_while_the_broker_is_down(
    database: Database, relay: Relay, broker: EmbeddedRedis
) -> None:
    _queue(database)
    broker.stop()
    with pytest.raises(BrokerUnavailable):
        relay.publish()
    broker.start()
    assert relay.publish() == 1


def test_messages_that_a_flush_took_are_sent_again_at_once(
    database: Database, relay: Relay, publisher: Publisher
) -> None:
    relay.recover()
    _queue(database)
    relay.publish()
    assert relay.recover() == 0
    with publisher._connected() as connection:
        connection.default_channel.client.flushall()
    assert relay.recover() == 1
    assert relay.publish() == 1


def test_one_lost_message_is_noticed_when_its_lane_has_run_empty(
    database: Database, relay: Relay, publisher: Publisher, settings: WorkerSettings
) -> None:
    relay.recover()
    _queue(database)
    relay.publish()
    with publisher._connected() as connection:
        connection.default_channel.client.delete(Lane.ROUTINE.value)
    later = settings.model_copy(update={"republish_seconds": 3600})
    assert Relay(database, publisher, later, process_id="relay-2").recover() == 0
    deadline = time.monotonic() + 10
    while relay.recover() == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert relay.publish() == 1


def test_jobs_whose_lease_ran_out_are_taken_back(database: Database, relay: Relay) -> None:
    job_id = _queue(database)
    with database.write() as session:
        jobs.claim(session, job_id, owner="w", lease_seconds=0.001, now=utc_now() - timedelta(seconds=1))
    assert relay.reclaim() == 1
    assert _job(database, job_id).state is JobState.QUEUED


def _request_fit(database: Database) -> int:
    with database.write() as session:
        wish = Wish(RequestKind.FIT)
        return fit_requests.place(session, new_task(session), wish, actor="api:x", now=utc_now()).id


def test_a_fit_request_is_published_once_into_the_lane_that_waits_and_lost_messages_are_sent_again(
    database: Database, relay: Relay, publisher: Publisher
) -> None:
    relay.recover()
    _request_fit(database)
    assert relay.publish() == 1
    assert relay.publish() == 0
    assert [publisher.is_empty(lane) for lane in Lane] == [True, True, False]
    with publisher._connected() as connection:
        connection.default_channel.client.flushall()
    assert relay.recover() == 1
    assert relay.publish() == 1


def test_a_fit_request_whose_lease_ran_out_is_taken_back(database: Database, relay: Relay) -> None:
    request_id = _request_fit(database)
    with database.write() as session:
        long_ago = utc_now() - timedelta(seconds=LEASE_SECONDS + 1)
        assert fit_requests.claim(session, request_id, owner="w", now=long_ago) is not None
    assert relay.reclaim() == 1
    assert relay.publish() == 1


def test_a_relay_whose_broker_and_database_are_down_goes_on_and_stops_promptly(tmp_path: Path) -> None:
    settings = WorkerSettings(broker_url=SecretStr("redis://127.0.0.1:1/0"), relay_seconds=0.01)
    database = connect(f"sqlite:///{tmp_path / 'missing' / 'oncue.sqlite'}")
    relay = Relay(database, Publisher(make_app(settings)), settings, process_id="relay-1")
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    database.dispose()


def test_a_running_relay_is_seen_in_the_database_until_it_stops(database: Database, relay: Relay) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + 10
    while not _running(database):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stop.set()
    thread.join(5)
    assert not _running(database)


def test_a_job_is_published_at_its_commit_without_waiting_for_the_next_look(
    sqlite_database: Database, publisher: Publisher, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.queue.relay._CHORES_SECONDS", 3600.0)
    patient = settings.model_copy(update={"relay_seconds": 3600.0})
    relay = Relay(sqlite_database, Publisher(make_app(settings)), patient, process_id="relay-1")
    stop = threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + 20
    while not _running(sqlite_database):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    _queue(sqlite_database)
    while publisher.is_empty(Lane.ROUTINE):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def _running(database: Database) -> bool:
    with database.read() as session:
        return bool(processes.running(session, kind="relay"))


def test_a_relay_that_dies_between_two_lanes_leaves_no_lost_message_unnoticed(
    sqlite_database: Database, publisher: Publisher, settings: WorkerSettings, broker: EmbeddedRedis
) -> None:
    class Dying(Relay):
        def _recover_lane(self, pool: str, lane: Lane, *, forgotten: bool) -> int:
            if lane is Lane.STAT:
                raise KeyboardInterrupt
            return super()._recover_lane(pool, lane, forgotten=forgotten)

    patient = settings.model_copy(update={"republish_seconds": 600})
    relay = Relay(sqlite_database, publisher, patient, process_id="relay-1")
    ids = [_queue(sqlite_database, "1.2.3", Lane.BATCH), _queue(sqlite_database, "1.2.9", Lane.STAT)]
    relay.recover()
    assert relay.publish() == 2
    Redis.from_url(broker.endpoint.url).flushall()
    with pytest.raises(KeyboardInterrupt):
        Dying(sqlite_database, publisher, patient, process_id="relay-2").recover()
    relay.recover()
    with sqlite_database.read() as session:
        assert {job.id for job in job_messages.publishable(session, now=utc_now())} == set(ids)
