"""Moulds: every row and event that a specimen left behind, from which those of other studies of its kind are cast."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Column, ColumnElement, Row, Select, Table, or_, select
from sqlalchemy.orm import Session

from benchmarks.history.specimens import CONFIDENCE, READER, STUDY_DATE, WORKER, Specimen
from storage import audit
from storage.audit_tables import AuditEventRow
from storage.models import InstanceRow, StudyRow
from storage.schema import METADATA
from storage.workitems.tables import WorkitemRow

EVENTS = cast("Table", AuditEventRow.__table__)
_EVENT_COLUMNS = tuple(column.name for column in EVENTS.columns if column.name != "seq")
_JOB_COLUMNS = ("leading_job_id", "superseded_by")
"""Columns that hold the number of a job and do not say so by a foreign key."""
_NUMBERED_DETAILS = {"job": "jobs", "delivery": "deliveries"}
"""Details that hold our number for a row, with its table."""

Key = tuple[str, int]
"""A table and the number of a row of the specimen in it."""
Values = tuple[Any, ...]


@dataclass(slots=True)
class Cast:
    """One study to be cast: what is its own. ``words`` are filled into texts, ``ids`` stand for the specimen's."""

    opened_at: datetime
    confidence: float
    words: dict[str, str]
    ids: dict[Key, int] = field(default_factory=dict)


Make = Callable[[Cast], Any]


@dataclass(frozen=True, slots=True)
class RowMould:
    """One row: its table, and how each column is made. ``number`` is its own, None where others give it its key."""

    table: Table
    number: Key | None
    makers: tuple[Make, ...]

    def values(self, study: Cast) -> Values:
        """Return the row for a study, in the order of the table's columns."""
        return tuple(make(study) for make in self.makers)


@dataclass(frozen=True, slots=True)
class EventMould:
    """One event, as its columns without the number; ``image`` says that it tells of an image that arrived."""

    tag: str
    makers: tuple[Make, ...]

    @property
    def image(self) -> bool:
        """Whether a study has one of these for each of its images."""
        return self.tag == "instance:stored"

    def values(self, study: Cast) -> Values:
        """Return the event for a study, in the order of ``event_columns``."""
        return tuple(make(study) for make in self.makers)


@dataclass(frozen=True, slots=True)
class Mould:
    """Everything that one specimen left."""

    specimen: Specimen
    rows: tuple[RowMould, ...]
    events: tuple[EventMould, ...]


def event_columns() -> tuple[str, ...]:
    """Return the columns of an event without its number."""
    return _EVENT_COLUMNS


def take(session: Session, specimen: Specimen) -> Mould:
    """Return the mould of a specimen, from all rows of the database that refer to its study and from its events."""
    texts = _Texts(session, specimen)
    return Mould(specimen, tuple(_row_moulds(session, specimen, texts)), tuple(_event_moulds(session, specimen, texts)))


class _Texts:
    """How texts and times of a specimen become those of another study."""

    def __init__(self, session: Session, specimen: Specimen) -> None:
        self.opened_at = specimen.opened_at
        row = session.get_one(StudyRow, specimen.study_id)
        self._words: dict[str, str] = {
            specimen.uid: "%(uid)s",
            specimen.patient_id: "%(patient)s",
            specimen.accession_number: "%(accession)s",
            STUDY_DATE: "%(day)s",
            row.patient_key or "": "%(patient_key)s",
            specimen.kind.sender: "%(sender)s",
            WORKER: "%(worker)s",
            READER: "%(person)s",
            **{digest[:16]: "%(serial)s" for digest in session.scalars(_digests(specimen))},
            **{uid: f"%(uid)s.7.{number}" for number, uid in enumerate(session.scalars(_workitems(specimen)))},
        }

    def maker(self, value: object) -> Make:
        """Return how a value is made for another study: times move along, texts name the other study."""
        if isinstance(value, datetime):
            after = value - self.opened_at
            return lambda study: study.opened_at + after
        if isinstance(value, float) and abs(value) == CONFIDENCE:
            sign = math.copysign(1, value)
            return lambda study: sign * study.confidence
        return self.text(value) if isinstance(value, str) else lambda _: value

    def moment(self, at: str) -> Make:
        """Return how the time of an event is made."""
        after = datetime.fromisoformat(at) - self.opened_at
        return lambda study: audit.moment(study.opened_at + after)

    def text(self, value: str) -> Make:
        """Return how a text is made."""
        found = self.form(value)
        return (lambda _: value) if found == value.replace("%", "%%") else lambda study: found % study.words

    def form(self, value: str) -> str:
        """Return a text with gaps for what differs from study to study."""
        found = value.replace("%", "%%")
        for word, gap in self._words.items():
            found = found.replace(word, gap) if word else found
        return found


def _digests(specimen: Specimen) -> Select[str]:
    return select(InstanceRow.digest).where(InstanceRow.study_id == specimen.study_id)


def _workitems(specimen: Specimen) -> Select[str]:
    return (
        select(WorkitemRow.sop_instance_uid).where(WorkitemRow.study_id == specimen.study_id).order_by(WorkitemRow.id)
    )


def _row_moulds(session: Session, specimen: Specimen, texts: _Texts) -> list[RowMould]:
    found: dict[str, list[Row[Any]]] = {}
    moulds = []
    for table in METADATA.sorted_tables:
        if table.name.startswith("audit_"):
            continue
        condition = table.c.id == specimen.study_id if table.name == "studies" else _refers(table, found)
        if condition is None:
            continue
        rows = session.execute(select(table).where(condition).order_by(*table.primary_key)).all()
        if rows:
            found[table.name] = list(rows)
            moulds += [_row_mould(table, row, texts) for row in rows]
    return moulds


def _refers(table: Table, found: Mapping[str, Sequence[Row[Any]]]) -> ColumnElement[bool] | None:
    """Return the condition that a row refers to one of those found; None where the table refers to none of them."""
    conditions = [
        key.parent.in_([row._mapping[key.column.name] for row in found[key.column.table.name]])  # noqa: SLF001 - public, whatever its name says
        for key in table.foreign_keys
        if key.column.table.name in found
    ]
    return or_(*conditions) if conditions else None


def _row_mould(table: Table, row: Row[Any], texts: _Texts) -> RowMould:
    makers = tuple(_column(column, value, texts) for column, value in zip(table.columns, row, strict=True))
    own = table.primary_key.columns.values()
    numbered = len(own) == 1 and not own[0].foreign_keys and isinstance(row[0], int)
    return RowMould(table, (table.name, row[0]) if numbered else None, makers)


def _column(column: Column[Any], value: object, texts: _Texts) -> Make:
    if column.name == "read_results" and isinstance(value, str):
        return _read_results(json.loads(value), texts)
    if isinstance(value, int):
        key = (_numbered_by(column), value)
        if key[0]:
            return lambda study: study.ids[key]
    return texts.maker(value)


def _numbered_by(column: Column[Any]) -> str:
    """Return the table whose rows a column numbers, its own or another; empty where it holds something else."""
    if column.name in _JOB_COLUMNS:
        return "jobs"
    root = column
    while root.foreign_keys:
        root = next(iter(root.foreign_keys)).column
    alone = len(column.table.primary_key.columns) == 1
    return root.table.name if root.primary_key and (alone or root is not column) else ""


def _read_results(results: Sequence[str], texts: _Texts) -> Make:
    """Return how the results are named that somebody read: each by its job and the time of its analysis."""
    (result,) = results
    number, _, moment = result.partition("@")
    after = datetime.fromisoformat(moment) - texts.opened_at
    key = ("jobs", int(number))
    return lambda study: json.dumps([f"{study.ids[key]}@{(study.opened_at + after).isoformat()}"])


def _event_moulds(session: Session, specimen: Specimen, texts: _Texts) -> list[EventMould]:
    query = select(AuditEventRow).where(AuditEventRow.study == specimen.uid).order_by(AuditEventRow.seq)
    return [_event_mould(audit.event_of(row), texts) for row in session.scalars(query)]


def _event_mould(event: audit.AuditEvent, texts: _Texts) -> EventMould:
    makers = []
    for name in _EVENT_COLUMNS:
        value = getattr(event, name)
        if name == "at":
            makers.append(texts.moment(value))
        elif name == "subject" and value.startswith("job/"):
            makers.append(_job_subject(int(value.removeprefix("job/"))))
        elif name == "details":
            makers.append(_details(value, texts))
        else:
            makers.append(texts.maker(value))
    return EventMould(event.tag, tuple(makers))


def _job_subject(job_id: int) -> Make:
    return lambda study: f"job/{study.ids['jobs', job_id]}"


def _details(text: str, texts: _Texts) -> Make:
    """Return how details are made: canonical JSON again, with the numbers of the other study's rows."""
    form = texts.form(text)
    keys = []
    for name, table in _NUMBERED_DETAILS.items():
        number = json.loads(text).get(name)
        if number is not None:
            form = form.replace(f'"{name}":{number}', f'"{name}":%({name})d')
            keys.append((name, (table, number)))
    if form == text:
        return lambda _: text
    if not keys:
        return lambda study: form % study.words
    return lambda study: form % {**study.words, **{name: study.ids[key] for name, key in keys}}
