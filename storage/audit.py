"""The audit trail: write one event in the transaction of the change that it describes.

Writers take no lock and do not wait for one another: an event stands when its change does. ``storage.history`` seals
what is committed into a Merkle tree, and answers questions about it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import cast

from sqlalchemy import Table, func, select
from sqlalchemy.orm import Session

from storage.audit_tables import AuditEventRow
from storage.models import JobRow, StudyRow

_EVENTS = cast("Table", AuditEventRow.__table__)
_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
_FOUND_BY = ("series", "route", "model", "weights")
"""Details that events can be asked for by: they have columns of their own."""

Detail = str | int | float | bool | None


class Outcome(StrEnum):
    """How what an event tells of ended."""

    SUCCESS = "success"
    REFUSED = "refused"
    FAILED = "failed"

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, tag: str) -> Outcome:
        """Return what a tag says of it: its verb is «refused» or «failed», or it went well."""
        verb = tag.rpartition(":")[2]
        return next((outcome for outcome in (cls.REFUSED, cls.FAILED) if verb.endswith(outcome.value)), cls.SUCCESS)


@dataclass(frozen=True, slots=True)
class ConcernedStudy:
    """The study that an event concerns. ``patient_key`` stands for its patient, None where it names none."""

    uid: str
    patient_key: str | None


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event. ``details`` is canonical JSON text and never holds patient data.

    ``at`` is ISO 8601 in UTC with microseconds. ``seq`` is its number, in PostgreSQL with gaps. ``previous_hash`` and
    ``hash`` are those of the chain that events were once linked in, and empty since.
    """

    seq: int
    at: str
    tag: str
    subject: str
    actor: str
    outcome: str
    study: str | None
    series: str | None
    patient_key: str | None
    route: str | None
    model: str | None
    weights: str | None
    details: str
    previous_hash: str = ""
    hash: str = ""


def record(
    session: Session,
    tag: str,
    subject: str,
    *,
    actor: str,
    now: datetime,
    details: Mapping[str, Detail] | None = None,
    study: ConcernedStudy | None = None,
) -> None:
    """Write one event. ``tag`` reads ``subject:verb-past``; ``details`` must not hold patient data."""
    written = event(tag, subject, actor=actor, now=now, details=details, study=study)
    # A plain insert: every received image passes here, and the unit of work would double its cost.
    session.execute(_EVENTS.insert(), row(written))


def record_all(session: Session, events: Sequence[AuditEvent]) -> None:
    """Write several events of one kind of change in one statement."""
    session.execute(_EVENTS.insert(), [row(written) for written in events])


def event(
    tag: str,
    subject: str,
    *,
    actor: str,
    now: datetime,
    details: Mapping[str, Detail] | None = None,
    study: ConcernedStudy | None = None,
) -> AuditEvent:
    """Return an event as ``record`` writes it, not written yet: its number is 0."""
    known = details or {}
    series, route, model, weights = (cast("str | None", known.get(name)) for name in _FOUND_BY)
    return AuditEvent(
        seq=0,
        at=moment(now),
        tag=tag,
        subject=subject,
        actor=actor,
        outcome=Outcome.of(tag).value,
        study=study.uid if study else None,
        series=series,
        patient_key=study.patient_key if study else None,
        route=route,
        model=model,
        weights=weights,
        details=canonical(known),
    )


def row(written: AuditEvent) -> dict[str, str | None]:
    """Return what stands in the columns of an event; the database gives it its number."""
    return {name: getattr(written, name) for name in AuditEvent.__slots__ if name != "seq"}


def moment(time: datetime) -> str:
    """Return a time as events hold it: text whose order is that of the times."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def concerned(study: StudyRow) -> ConcernedStudy:
    """Return how events name a study."""
    return ConcernedStudy(study.study_instance_uid, study.patient_key)


def study_of(session: Session, study_id: int) -> ConcernedStudy:
    """Return how events name the study with our number."""
    query = select(StudyRow.study_instance_uid, StudyRow.patient_key).where(StudyRow.id == study_id)
    return ConcernedStudy(*session.execute(query).one())


def study_of_job(session: Session, job_id: int) -> ConcernedStudy:
    """Return how events name the study of a job."""
    query = select(StudyRow.study_instance_uid, StudyRow.patient_key).join(JobRow).where(JobRow.id == job_id)
    return ConcernedStudy(*session.execute(query).one())


def history(
    session: Session, *, subject: str | None = None, tag: str | None = None, after: int = 0, limit: int = 200
) -> tuple[AuditEvent, ...]:
    """Return events by number, those after ``after`` first; a page holds ``limit``."""
    query = select(AuditEventRow).where(AuditEventRow.seq > after).order_by(AuditEventRow.seq).limit(limit)
    if subject is not None:
        query = query.where(AuditEventRow.subject == subject)
    if tag is not None:
        query = query.where(AuditEventRow.tag == tag)
    return tuple(event_of(row) for row in session.scalars(query))


def latest(session: Session, *, limit: int = 200, before: int | None = None) -> tuple[AuditEvent, ...]:
    """Return the newest events first, those before ``before`` where it is given."""
    query = select(AuditEventRow).order_by(AuditEventRow.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEventRow.seq < before)
    return tuple(event_of(row) for row in session.scalars(query))


def count(session: Session) -> int:
    """Return how many events there are."""
    return session.scalar(select(func.count()).select_from(AuditEventRow)) or 0


def event_of(row: AuditEventRow) -> AuditEvent:
    """Return a row as an event."""
    return AuditEvent(**{name: getattr(row, name) for name in AuditEvent.__slots__})


def canonical(details: Mapping[str, Detail]) -> str:
    """Return details as events keep them: JSON with its keys in order."""
    return _JSON.encode(dict(details))
