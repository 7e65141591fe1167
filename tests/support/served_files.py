"""Files on record as if a gateway had received them, and a console that serves them on a free port."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import uvicorn
from pydicom.dataset import Dataset
from starlette.types import ASGIApp

from storage import registering
from storage.arrivals import Origin, StudyFacts
from storage.database import Database
from storage.domain import StoredInstance
from storage.objects import ObjectStore
from tests.support.dicom import put

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def hold(database: Database, objects: ObjectStore, instances: Iterable[Dataset]) -> tuple[StoredInstance, ...]:
    """Store data sets and put them on record."""
    stored = tuple(put(objects, one) for one in instances)
    register(database, stored)
    return stored


def hold_files(database: Database, objects: ObjectStore, files: Iterable[Path]) -> tuple[StoredInstance, ...]:
    """Store files byte for byte and put them on record."""
    stored = tuple(_put_file(objects, path) for path in files)
    register(database, stored)
    return stored


def _put_file(objects: ObjectStore, path: Path) -> StoredInstance:
    return put(objects, path.read_bytes(), like=pydicom.dcmread(path, stop_before_pixels=True))


def register(database: Database, stored: Iterable[StoredInstance]) -> None:
    """Put stored instances on record."""
    for one in stored:
        with database.write() as session:
            facts = StudyFacts("P-1", "ACC1", "20260301", "Head")
            registering.register_instance(session, one, facts, origin=Origin("MODALITY", None), now=NOW)


@contextlib.contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve an application until the block ends; gives its address."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)
