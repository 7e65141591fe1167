"""The child process of a worker: load the models once, then take jobs from the lanes until told to stop."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from storage import processes
from storage.config import StorageSettings
from storage.database import Database, connect, utc_now
from storage.errors import DatabaseUnavailable, OncueError
from storage.objects import ObjectStore
from storage.processes import Served
from workers.config import WorkerSettings
from workers.queue.signs_of_life import SignsOfLife

if TYPE_CHECKING:
    from workers.resources import PipelineResources

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """Where a worker works: its settings, the storage's, the state folder, and how its process sets up logging."""

    workers: WorkerSettings
    storage: StorageSettings
    state: Path
    prepare: Callable[[], None] | None = None
    """Called first in the child process, which shares no memory with its parent; must be importable by name."""

    def open_database(self) -> Database:
        """Return the database; no connection is made yet."""
        return connect(self.storage.url(self.state))

    def open_objects(self) -> ObjectStore:
        """Return the object store."""
        store = ObjectStore(self.storage.objects_folder(self.state), self.storage.reserve_megabytes * 1_000_000)
        store.prepare()
        return store


def consume(place: WorkerPlace, owner: str, signs: SignsOfLife, refusals: Connection) -> None:
    """Run a worker until SIGTERM; a coded error that keeps it from starting goes to the parent over ``refusals``."""
    if place.prepare is not None:
        place.prepare()
    _follow_parent()
    try:
        _consume(place, owner, signs)
    except OncueError as error:
        refusals.send(error)
        raise SystemExit(1) from None


def _consume(place: WorkerPlace, owner: str, signs: SignsOfLife) -> None:
    from workers.device_turns import DeviceTurns
    from workers.fewshot.fit_requests import FitRunner
    from workers.queue.app import make_app
    from workers.queue.tasks import JobRunner, register_tasks
    from workers.resources import open_resources

    database = place.open_database()
    started = time.monotonic()
    resources = open_resources(place.workers, database, place.open_objects(), actor=owner, state=place.state)
    log.info("worker.models_loaded", seconds=round(time.monotonic() - started, 2))
    with database.write() as session:
        processes.start(session, owner, "worker", now=utc_now(), serves=_served(place, resources))
    turns = DeviceTurns(room_bytes=place.workers.prefetch_megabytes * 1_000_000)
    runner = JobRunner(resources, owner, place.workers.lease_seconds, signs, turns)
    app = make_app(place.workers, on_poll=signs.mark_poll)
    register_tasks(app, runner, FitRunner(database, place.workers, owner))
    signs.mark_ready()
    _beat_from_thread(place, resources, owner, signs)
    worker = app.Worker(
        hostname=f"{owner}@%h", quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True
    )
    _wake_on_shutdown()
    worker.start()
    with database.write() as session:
        processes.stop(session, owner, now=utc_now())


def _wake_on_shutdown() -> None:
    """Have SIGTERM end a worker's wait for a message: Celery's own handler only sets a flag for after that wait."""
    from celery.signals import worker_shutting_down
    from kombu.asynchronous import get_event_loop

    def wake(**_: object) -> None:
        hub = get_event_loop()
        if hub is not None:
            # From a thread: the handler interrupts the hub's own, which takes itself for awake.
            threading.Thread(target=hub.call_soon, args=(lambda: None,), name="shutdown-wake", daemon=True).start()

    worker_shutting_down.connect(wake, weak=False)


def _follow_parent() -> None:
    """Finish what is in hand and end when the supervisor is gone, rather than work on unsupervised."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _beat_from_thread(place: WorkerPlace, resources: PipelineResources, owner: str, signs: SignsOfLife) -> None:
    """Show in the database that this worker polls or works, and what it serves; one that merely exists is not seen."""

    def beat() -> None:
        while True:
            if signs.is_busy or time.monotonic() - signs.last_sign < place.workers.silence_seconds:
                try:
                    served = _served(place, resources)
                    with resources.database.write() as session:
                        processes.beat(session, owner, now=utc_now(), serves=served)
                    resources.models.forget_removed()
                except DatabaseUnavailable as error:
                    log.warning("worker.not_seen", code=error.code)
            time.sleep(processes.BEAT_SECONDS)

    threading.Thread(target=beat, name="worker-beat", daemon=True).start()


def _served(place: WorkerPlace, resources: PipelineResources) -> list[Served]:
    return [Served(place.workers.pool, name) for name in resources.serves]
