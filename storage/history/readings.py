"""Reading is an event too: who read a study, looked at a picture, took something out, or asked the history."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit
from storage.audit import ConcernedStudy
from storage.history import auditors
from storage.history.question import Question
from storage.history.selection import EVENTS
from storage.models import StudyRow

_VISIT = timedelta(minutes=10)
"""How long a study page that somebody opened counts as one visit: its pictures are part of it."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, and when."""

    actor: str
    now: datetime


def study_read(session: Session, study_id: int, reader: Reader) -> None:
    """Record that somebody read all that is on record of a study."""
    study = audit.study_of(session, study_id)
    _record(session, "study:read", f"study/{study.uid}", reader, study=study)


def picture_read(session: Session, job_id: int, reader: Reader) -> None:
    """Record that somebody looked at pictures of a job, once a visit; they belong to the study's page where that is."""
    study = audit.study_of_job(session, job_id)
    if not is_visiting(session, study, reader):
        _record(session, "picture:read", f"job/{job_id}", reader, study=study)


def is_visiting(session: Session, study: ConcernedStudy, reader: Reader) -> bool:
    """Say whether the same person opened the study, or a picture of it, minutes ago."""
    query = select(EVENTS.c.seq).where(
        EVENTS.c.study == study.uid,
        EVENTS.c.actor == reader.actor,
        EVENTS.c.tag.in_(("study:read", "picture:read")),
        EVENTS.c.at >= audit.moment(reader.now - _VISIT),
    )
    return session.scalar(query.limit(1)) is not None


def export_made(session: Session, job_id: int, reader: Reader, *, what: str) -> None:
    """Record that somebody took something of a job out of the system as files."""
    study = audit.study_of_job(session, job_id)
    _record(session, "export:made", f"job/{job_id}", reader, study=study, what=what)


def objects_retrieved(session: Session, study_id: int, reader: Reader, *, objects: int, destination: str) -> None:
    """Record that a peer asked for objects of a study by C-GET or C-MOVE; ``destination`` is who gets them."""
    study = audit.study_of(session, study_id)
    details: dict[str, audit.Detail] = {"objects": objects, "destination": destination}
    _record(session, "study:retrieved", f"study/{study.uid}", reader, study=study, **details)


def history_asked(session: Session, question: Question, reader: Reader, *, turns_page: bool = False) -> None:
    """Record what somebody asked the history: the filters. Of a patient only the key; of words only how many.

    Whoever turns to the next page of what they asked minutes ago is still on the same visit. Nobody's word is taken
    for that: a cursor can be made up.
    """
    filters = _spoken(question)
    if not (turns_page and _asked_lately(session, filters, reader)):
        _record_of_history(session, "audit:queried", question.study, reader, filters=filters)


def history_read(session: Session, study_uid: str | None, reader: Reader, *, what: str) -> None:
    """Record that somebody read the history of a study, or one event of the whole."""
    _record_of_history(session, "audit:read", study_uid, reader, what=what)


def _asked_lately(session: Session, filters: str, reader: Reader) -> bool:
    query = select(EVENTS.c.seq).where(
        EVENTS.c.actor == auditors.recorded_as(session, reader.actor),
        EVENTS.c.tag == "audit:queried",
        EVENTS.c.details == audit.canonical({"filters": filters}),
        EVENTS.c.at >= audit.moment(reader.now - _VISIT),
    )
    return session.scalar(query.limit(1)) is not None


def _record_of_history(session: Session, tag: str, study_uid: str | None, reader: Reader, **details: str) -> None:
    if auditors.may_only_read(session):
        auditors.note_reading(session, tag, study_uid, audit.canonical(details))
        return
    study = None if study_uid is None else _study(session, study_uid)
    subject = "audit/events" if study is None else f"study/{study.uid}"
    _record(session, tag, subject, reader, study=study, **details)


def _study(session: Session, uid: str) -> ConcernedStudy:
    row = session.scalar(select(StudyRow).where(StudyRow.study_instance_uid == uid))
    return ConcernedStudy(uid, None) if row is None else audit.concerned(row)


def _spoken(question: Question) -> str:
    """Return the filters as text. Words are free text, in which somebody may have typed a name: they are counted."""
    said = {field.name: getattr(question, field.name) for field in fields(Question)}
    if question.words is not None:
        said["words"] = len(question.words.split())
    if question.since is not None:
        said["since"] = audit.moment(question.since)
    if question.until is not None:
        said["until"] = audit.moment(question.until)
    return " ".join(f"{name}={value}" for name, value in said.items() if value is not None)


def _record(
    session: Session, tag: str, subject: str, reader: Reader, *, study: ConcernedStudy | None, **details: audit.Detail
) -> None:
    audit.record(session, tag, subject, actor=reader.actor, now=reader.now, details=details, study=study)
