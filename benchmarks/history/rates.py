"""Rates of what goes over many events: sealing, proving, and the part that the trail has in a received image."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from sqlalchemy import select

from benchmarks import writers
from storage import audit, registering
from storage.arrivals import Origin, StudyFacts
from storage.audit_tables import AuditLogRow
from storage.database import Database, utc_now
from storage.domain import StoredInstance
from storage.history import sealing, tiles, verification
from storage.history.checkpoint_text import Checkpoint
from storage.history.note_keys import SigningKey
from storage.history.sealer import Sealer
from storage.objects import ObjectStore

DAY_STUDIES = 10_000
_IMAGE_BYTES = 524_288
_IMAGES = 200
_WRITTEN = 200


@dataclass(frozen=True, slots=True)
class Rate:
    """Something done so many times within so many seconds; ``wanted`` says what is asked of it."""

    name: str
    count: int
    seconds: float
    wanted: str = ""

    @property
    def per_second(self) -> float:
        """Return how many of it a second has."""
        return self.count / self.seconds if self.seconds else 0.0


def seal(database: Database, key: SigningKey) -> Rate:
    """Seal whatever is not sealed, as the gateway does."""
    started = time.perf_counter()
    sealed = Sealer(database, key, owner="benchmark").round()
    return Rate("sealing, events", sealed, time.perf_counter() - started)


def write(url: str) -> list[Rate]:
    """Let one process and then eight register images into a database of PostgreSQL, each of studies of its own."""
    rates: list[Rate] = []
    for count in (1, writers.WRITERS):
        load = writers.Load(count, _WRITTEN, one_lock=False)
        rate = writers.measure(url, load).per_second
        wanted = f"{rate / rates[0].per_second:.2f} times one writer; at least 4 wanted" if rates else ""
        rates.append(Rate(f"writing, images of {count} writers", count * _WRITTEN, count * _WRITTEN / rate, wanted))
    return rates


def prove(database: Database, key: SigningKey, *, events_of_a_day: int) -> list[Rate]:
    """Prove the whole log, and what came in a day, and say where it does not hold."""
    with database.read() as session:
        size = session.scalars(select(AuditLogRow.size)).one()
        before = max(0, size - events_of_a_day)
        since = Checkpoint(key.name, before, tiles.root(before, sealing.read_tile(session)))
    return [
        _proved(database, key, None, "full verification, events", "at least 100,000/s"),
        _proved(database, key, since, f"verification of a day of {DAY_STUDIES:,} studies, events", "under 5 s"),
    ]


def _proved(database: Database, key: SigningKey, since: Checkpoint | None, name: str, wanted: str) -> Rate:
    started = time.perf_counter()
    with database.snapshot() as session:
        found = verification.verify(session, key.verifier, since=since)
    seconds = time.perf_counter() - started
    told = f"the log does not hold: {found.problems[0]}" if found.problems else wanted
    return Rate(name, found.proved, seconds, told)


@dataclass(frozen=True, slots=True)
class IngestShare:
    """Seconds of storing images durably, file and row, and those of them that writing their events takes."""

    images: int
    seconds: float
    audit_seconds: float

    @property
    def share(self) -> float:
        """Return the part of the audit trail in all."""
        return self.audit_seconds / self.seconds


def ingest_share(database: Database, objects: ObjectStore) -> IngestShare:
    """Store images as the gateway does, each in a transaction of its own, and clock what recording their events takes.

    The database's trigger that notes an event as unsealed is part of the statement that is clocked.
    """
    study = f"2.25.{uuid.uuid4().int}"
    contents = [number.to_bytes(8, "big") * (_IMAGE_BYTES // 8) for number in range(_IMAGES)]
    with _clocked_events() as spent:
        started = time.perf_counter()
        for number, content in enumerate(contents):
            _store(database, objects, content, f"{study}.{number}", study)
        return IngestShare(_IMAGES, time.perf_counter() - started, sum(spent))


def _store(database: Database, objects: ObjectStore, content: bytes, uid: str, study: str) -> None:
    instance = StoredInstance(
        study_instance_uid=study,
        series_instance_uid=f"{study}.1",
        sop_instance_uid=uid,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="CT",
        digest=objects.put(content),
        content_sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )
    facts = StudyFacts("BENCHMARK")
    with database.write() as session:
        registering.register_instance(session, instance, facts, origin=Origin("CT", None), now=utc_now())


@contextmanager
def _clocked_events() -> Iterator[list[float]]:
    """Clock what makes and writes events; what one of these calls of another is counted once."""
    spent: list[float] = []
    depth = 0

    def clocked(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            started, depth = time.perf_counter(), depth + 1
            try:
                return function(*args, **kwargs)
            finally:
                depth -= 1
                if not depth:
                    spent.append(time.perf_counter() - started)

        return run

    with ExitStack() as patches:
        for name in ("event", "record", "record_all"):
            patches.enter_context(patch.object(audit, name, clocked(getattr(audit, name))))
        yield spent
