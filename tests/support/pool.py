"""A whole work floor for crash tests: a real Redis, a real relay, real worker processes over one database."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from pydantic import SecretStr
from redis import Redis

from storage import job_lists, processes
from storage.config import StorageSettings
from storage.database import Database, connect
from storage.domain import Lane, StoredInstance
from storage.errors import OncueError
from storage.objects import ObjectStore
from storage.states import JobState
from tests.support.migrated import put_database
from tests.support.queued import queue_study, small_phantom, stored_instances
from workers.config import WorkerSettings
from workers.queue.app import make_app
from workers.queue.child import WorkerPlace
from workers.queue.embedded_redis import EmbeddedRedis
from workers.queue.publisher import Publisher
from workers.queue.relay import Relay
from workers.queue.supervisor import Supervisor


@dataclass
class Floor:
    """The place, and threads that run a relay and supervisors whose children are processes of their own."""

    place: WorkerPlace
    broker: EmbeddedRedis
    database: Database
    objects: ObjectStore
    instances: list[StoredInstance]
    threads: list[tuple[threading.Thread, threading.Event]] = field(default_factory=list)
    refusals: list[OncueError] = field(default_factory=list)

    def queue(self, *, study: str = "1", lane: Lane = Lane.ROUTINE) -> int:
        """Queue a job for a study of its own; the images are the same."""
        renamed = [_in_study(instance, f"2.25.{study}") for instance in self.instances]
        return queue_study(self.database, renamed, lane=lane)

    def start_relay(self) -> threading.Event:
        return self._start(self._run_relay)

    def start_worker(self) -> threading.Event:
        return self._start(self._run_worker)

    def redis(self) -> Redis:
        endpoint = self.broker.endpoint
        return Redis("127.0.0.1", endpoint.port, password=endpoint.password)

    def job(self, job_id: int) -> job_lists.Job:
        with self.database.read() as session:
            return job_lists.find(session, job_id)

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not reached; jobs: {self._states()}"
            time.sleep(0.05)

    def wait_for_state(self, job_id: int, state: JobState, *, seconds: float = 60) -> job_lists.Job:
        self.wait_until(lambda: self.job(job_id).state is state, seconds=seconds)
        return self.job(job_id)

    def wait_for_worker(self) -> None:
        self.wait_until(lambda: bool(self._workers()))

    def stop(self) -> None:
        for _, stop in self.threads:
            stop.set()
        for thread, _ in self.threads:
            thread.join(30)
            assert not thread.is_alive(), "a process did not stop"
        self.threads.clear()

    def _run_relay(self, stop: threading.Event) -> None:
        database = self.place.open_database()
        publisher = Publisher(make_app(self.place.workers))
        Relay(database, publisher, self.place.workers, process_id=f"relay-{uuid.uuid4().hex}").run(stop)
        database.dispose()

    def _run_worker(self, stop: threading.Event) -> None:
        publisher = Publisher(make_app(self.place.workers))
        try:
            Supervisor(self.place, broker_answers=publisher.answers).run(stop)
        except OncueError as error:
            self.refusals.append(error)
        publisher.close()

    def _workers(self) -> tuple[processes.Process, ...]:
        with self.database.read() as session:
            return processes.running(session, kind="worker")

    def _states(self) -> list[tuple[int, str, int, str | None]]:
        with self.database.read() as session:
            return [(job.id, job.state.value, job.attempts, job.reason) for job in job_lists.listed(session)]

    def _start(self, run: Callable[[threading.Event], None]) -> threading.Event:
        stop = threading.Event()
        thread = threading.Thread(target=run, args=(stop,), daemon=True)
        thread.start()
        self.threads.append((thread, stop))
        return stop


@contextmanager
def work_floor(folder: Path, **settings: object) -> Iterator[Floor]:
    """Set up a floor in an empty folder; settings are those of WorkerSettings."""
    broker = EmbeddedRedis(folder / "broker")
    endpoint = broker.start()
    defaults: dict[str, object] = {
        "broker_url": SecretStr(endpoint.url),
        "analysers": {"zero-shot": "tests.support.analysers:build_quick"},
        "classify": False,
        "guard": False,
        "relay_seconds": 0.1,
        "grace_seconds": 5,
    }
    place = WorkerPlace(
        WorkerSettings.model_validate({**defaults, **settings}),
        StorageSettings(reserve_megabytes=0),
        folder,
    )
    put_database(folder)
    database = connect(place.storage.url(folder))
    objects = place.open_objects()
    phantom = small_phantom(folder / "phantom")
    instances = stored_instances(objects, list(phantom.series_folder.iterdir()), study_uid=phantom.study_instance_uid)
    floor = Floor(place, broker, database, objects, instances)
    try:
        yield floor
    finally:
        floor.stop()
        broker.stop()
        database.dispose()


def kill(pid: int) -> None:
    """Kill one process as a crash would, and wait until it is dead.

    Its supervisor runs in this process and must be the one to collect it: waiting for it here would take its exit
    code away, and the supervisor would believe it alive for ever.
    """
    process = psutil.Process(pid)
    process.kill()
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)


def _in_study(instance: StoredInstance, study_uid: str) -> StoredInstance:
    return replace(instance, study_instance_uid=study_uid)
