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

import structlog

from storage import processes
from storage.config import StorageSettings
from storage.database import Database, connect, utc_now
from storage.errors import DatabaseUnavailable, OncueError
from storage.objects import ObjectStore
from workers.config import WorkerSettings
from workers.queue.signs_of_life import Vitals

_BEAT_SECONDS = 5.0

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


def consume(place: WorkerPlace, owner: str, vitals: Vitals, refusals: Connection) -> None:
    """Run a worker until SIGTERM; a coded error that keeps it from starting goes to the parent over ``refusals``."""
    if place.prepare is not None:
        place.prepare()
    _follow_parent()
    try:
        _consume(place, owner, vitals)
    except OncueError as error:
        refusals.send(error)
        raise SystemExit(1) from None


def _consume(place: WorkerPlace, owner: str, vitals: Vitals) -> None:
    from workers.pipeline import open_resources
    from workers.queue.app import make_app
    from workers.queue.tasks import JobRunner, register_tasks

    database = place.open_database()
    started = time.monotonic()
    bench = open_resources(place.workers, database, place.open_objects(), actor=owner)
    log.info("worker:models-loaded", seconds=round(time.monotonic() - started, 2))
    with database.write() as session:
        processes.start(session, owner, "worker", now=utc_now())
    runner = JobRunner(bench, owner, place.workers.lease_seconds, vitals)
    app = make_app(place.workers, on_poll=vitals.mark_poll)
    register_tasks(app, runner)
    vitals.mark_ready()
    _beat_from_thread(database, owner, vitals, place.workers.silence_seconds)
    if place.workers.classify:
        from workers.fewshot.requests import serve_orders

        serve_orders(database, place.workers, owner=owner)
    worker = app.Worker(hostname=f"{owner}@%h", quiet=True, without_gossip=True, without_mingle=True)
    worker.start()
    with database.write() as session:
        processes.stop(session, owner, now=utc_now())


def _follow_parent() -> None:
    """Finish the running job and end when the supervisor is gone, rather than work on unsupervised."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _beat_from_thread(database: Database, owner: str, vitals: Vitals, silence_seconds: float) -> None:
    """Show in the database that this worker polls or works; one that merely exists is not seen."""

    def beat() -> None:
        while True:
            if vitals.is_busy or time.monotonic() - vitals.last_sign < silence_seconds:
                try:
                    with database.write() as session:
                        processes.beat(session, owner, now=utc_now())
                except DatabaseUnavailable as error:
                    log.warning("worker:not-seen", code=error.code)
            time.sleep(_BEAT_SECONDS)

    threading.Thread(target=beat, name="worker-beat", daemon=True).start()
