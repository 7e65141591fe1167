"""Filling a database with studies and events: specimens by the project's own writers, then casts of them in bulk."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from benchmarks.history import asides, bulk, moulds, specimens
from benchmarks.history.kinds import PERIOD_DAYS, all_kinds
from benchmarks.history.moulds import EVENTS, Cast, EventMould, Mould, Values
from storage import audit, patient_keys
from storage.audit import AuditEvent, ConcernedStudy
from storage.audit_tables import AuditLogRow
from storage.database import Database, utc_now
from storage.models import StudyRow
from storage.objects import ObjectStore
from storage.progress import OnProgress
from storage.schema import METADATA

_LIFE_SHARE = 0.85
"""Of all events, how many tell of the studies' own lives."""
_AT_ONCE = 2_000
_LONG_EVERY = 5_000
LONG_IMAGES = 1_000
"""How many more images one study in five thousand has."""
_STUDIES_PER_PATIENT = 2.5
_BEFORE_NOW = timedelta(hours=2)
_SEED = 18
_MEASURED = 100
"""Measuring adds a few studies each time."""
FEWEST_STUDIES = 5_000
"""A hundredth of these is still more than the specimens."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many studies and events a database has or is to have."""

    studies: int
    events: int


def size_of(database: Database) -> Size:
    """Return how many studies and events there are."""
    with database.read() as session:
        studies = session.scalar(select(func.count()).select_from(StudyRow)) or 0
        return Size(studies, audit.count(session))


def is_filled(had: Size, wanted: Size) -> bool:
    """Say whether a database was filled to a size; what measuring it adds is a trifle."""
    return wanted.studies <= had.studies < wanted.studies + _MEASURED and wanted.events <= had.events


def fill(database: Database, objects: ObjectStore, size: Size, *, on_progress: OnProgress) -> None:
    """Fill an empty database, in the order in which it would have come about over two years."""
    start = utc_now() - _BEFORE_NOW - timedelta(days=PERIOD_DAYS)
    _make_partitions(database, start)
    written = [
        specimens.write(database, objects, kind, number, now=start + timedelta(minutes=10 * number))
        for number, kind in enumerate(all_kinds())
    ]
    with database.read() as session:
        taken = [moulds.take(session, specimen) for specimen in written]
        filler = _Filler(session, taken, size, start=start)
    had = size_of(database)
    database.dispose()  # a connection cannot be shared with the process that casts
    for chunk in _ahead(filler.chunks(had)):
        with database.write() as session:
            chunk.add(session)
        on_progress(chunk.until, size.studies)
    bulk.number_on(database, filler.numbered)
    bulk.refresh_statistics(database)


def _ahead(chunks: Iterator[_Chunk]) -> Iterator[_Chunk]:
    """Cast the chunks in a process of their own, two ahead, so that the database need not wait for them."""
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[_Chunk | None] = context.Queue(maxsize=2)

    def put_all() -> None:
        for chunk in chunks:
            queue.put(chunk)
        queue.put(None)

    process = context.Process(target=put_all, daemon=True)
    process.start()
    while (chunk := queue.get()) is not None:
        yield chunk
    process.join()


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Rows of some studies, by table in the order of their keys, and events in the order of their times."""

    rows: dict[str, list[Values]]
    events: list[Values]
    until: int

    def add(self, session: Session) -> None:
        for name, rows in self.rows.items():
            table = METADATA.tables[name]
            bulk.add(session, table, [column.name for column in table.columns], rows)
        bulk.add(session, EVENTS, moulds.event_columns(), self.events)


class _Filler:
    """Casts studies one after another; numbers go on after those that the database gave."""

    def __init__(self, session: Session, taken: Sequence[Mould], size: Size, *, start: datetime) -> None:
        self._moulds, self._size, self._start = taken, size, start
        self._salt = session.scalars(select(AuditLogRow.salt)).one()
        self._shares = [mould.specimen.kind.share for mould in taken]
        self.numbered = tuple({row.table: None for mould in taken for row in mould.rows if row.number})
        known = {row.table for mould in taken for row in mould.rows}
        self._tables = [table.name for table in METADATA.sorted_tables if table in known]
        self._next = {table.name: bulk.highest_number(session, table) + 1 for table in self.numbered}
        life = sum(len(mould.events) * share for mould, share in zip(taken, self._shares, strict=True))
        self._first_long = len(taken)
        self._long = min(LONG_IMAGES, size.events // 20)
        wanted = _LIFE_SHARE * size.events / size.studies - self._long / min(_LONG_EVERY, size.studies)
        self._kept = max(0.0, min(1.0, wanted / (life / sum(self._shares))))
        self._images = max(0, round(wanted - life / sum(self._shares)))

    def chunks(self, had: Size) -> Iterator[_Chunk]:
        random.seed(_SEED)
        done, events = had.studies, had.events
        while done < self._size.studies:
            until = min(done + _AT_ONCE, self._size.studies)
            chunk = self._chunk(done, until, wanted=self._size.events * until // self._size.studies - events)
            done, events = until, events + len(chunk.events)
            yield chunk

    def _chunk(self, first: int, until: int, *, wanted: int) -> _Chunk:
        rows: dict[str, list[Values]] = {name: [] for name in self._tables}
        events: list[Values] = []
        concerned = []
        for index in range(first, until):
            mould = self._chosen(index)
            study = self._cast(mould, index)
            for row in mould.rows:
                rows[row.table.name].append(row.values(study))
            events += self._life(mould, study, index)
            concerned.append(ConcernedStudy(study.words["uid"], study.words["patient_key"]))
        begin, end = self._moment(first), self._moment(until)
        beside = asides.write(max(0, wanted - len(events)), concerned, at=begin, spread=end - begin)
        events += [_values(event) for event in beside]
        events.sort(key=itemgetter(0))
        return _Chunk(rows, events, until)

    def _chosen(self, index: int) -> Mould:
        part = index / self._size.studies
        while True:
            mould = random.choices(self._moulds, self._shares)[0]
            if mould.specimen.kind.since <= part < mould.specimen.kind.until:
                return mould

    def _cast(self, mould: Mould, index: int) -> Cast:
        opened_at = self._moment(index)
        patients = max(1, int(self._size.studies / _STUDIES_PER_PATIENT))
        patient = f"P{int(patients * random.random() ** 1.5):08}"
        words = {
            "uid": f"2.25.9{index:09}{random.randrange(10**12):012}",
            "patient": patient,
            "patient_key": patient_keys.salted(self._salt, patient) or "",
            "accession": f"A{index:09}",
            "day": opened_at.strftime("%Y%m%d"),
            "serial": f"{index:016x}",
            "sender": f"{mould.specimen.kind.sender}{random.randint(1, 3)}",
            "worker": random.choice(asides.WORKERS),
            "person": random.choice(asides.PEOPLE),
        }
        study = Cast(opened_at, round(random.random(), 4), words)
        for row in mould.rows:
            if row.number is not None:
                study.ids[row.number] = self._next[row.table.name]
                self._next[row.table.name] += 1
        return study

    def _life(self, mould: Mould, study: Cast, index: int) -> list[Values]:
        kept = [event.values(study) for event in mould.events if self._kept == 1 or random.random() < self._kept]
        more = self._images + (self._long if index % _LONG_EVERY == self._first_long else 0)
        image = next((event for event in mould.events if event.image), None)
        return kept + ([_image(image, study, number) for number in range(more)] if image else [])

    def _moment(self, index: int) -> datetime:
        """Return when a study arrives: most of them between eight and eighteen o'clock."""
        days, part = divmod(PERIOD_DAYS * index / self._size.studies, 1)
        for until, first, last in ((0.15, 0, 8), (0.85, 8, 18), (1.0, 18, 24)):
            if part < until or until == 1.0:
                since = {0.15: 0.0, 0.85: 0.15, 1.0: 0.85}[until]
                hours = first + (last - first) * (part - since) / (until - since)
                return self._start + timedelta(days=days, hours=hours)
        raise AssertionError


def _values(event: AuditEvent) -> Values:
    row = audit.row(event)
    return tuple(row[name] for name in moulds.event_columns())


def _image(mould: EventMould, study: Cast, number: int) -> Values:
    at, tag, _, *others = mould.values(study)
    later = audit.moment(datetime.fromisoformat(at) + timedelta(milliseconds=50 * number))
    return (later, tag, f"instance/{study.words['uid']}.1.{number + 3}", *others)


def _make_partitions(database: Database, start: datetime) -> None:
    if database.engine.dialect.name != "postgresql":
        return
    with database.write() as session:
        session.execute(
            text(
                "SELECT audit_make_partition(month::date) FROM generate_series(date_trunc('month', CAST(:start AS "
                "timestamptz)), date_trunc('month', now()), interval '1 month') AS month"
            ),
            {"start": start},
        )
