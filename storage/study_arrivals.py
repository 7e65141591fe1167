"""How far studies are on their way in: what each still waits for, what its source said, and who let it go.

A row is written once there is more to say of a study than ``studies`` holds: with its first late image, the first
question to its source, or when it has to wait. Whoever writes one holds the study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, deletions, notices, standing, study_locks
from storage.arrival_tables import StudyArrivalRow
from storage.audit import Detail
from storage.errors import IllegalTransition, RecordMissing
from storage.models import StudyRow
from storage.states import StudyState

_ACTOR = "assembly"
_TRICKLE = timedelta(hours=1)
"""Late images that are farther apart than this are each a late image, and no trickle."""


class Waiting(StrEnum):
    """What a study still waits for: more images while it is being sent, then its source's answer, and the rest."""

    IMAGES = "more_images"
    SOURCE = "source_answer"
    EXPECTED = "expected_instances"
    SERIES = "required_series"


@dataclass(frozen=True, slots=True)
class StudyArrival:
    """How far one study is; ``late_revisions`` counts the late images in a row that opened a revision.

    ``expected`` is how many images its source said to hold at ``answered_at``; ``ask_code`` says why it could not tell.
    ``asked_at`` without a later ``answered_at`` is a question that is under way. ``hold`` is HELD or SET_ASIDE.
    """

    study_id: int
    since: datetime
    late_revisions: int = 0
    expected: int | None = None
    asked_at: datetime | None = None
    answered_at: datetime | None = None
    ask_code: str | None = None
    waits_for: Waiting | None = None
    hold: StudyState | None = None
    released_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What the sources of a study said: how many images they hold, or with which code they did not say so."""

    expected: int | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A study that is to be held back: HELD or SET_ASIDE, for what is missing, and on which view of it that rests."""

    state: StudyState
    reason: Waiting
    last_instance_at: datetime
    details: Mapping[str, Detail]


def of_studies(session: Session, ids: Sequence[int]) -> dict[int, StudyArrival]:
    """Return how far some studies are, those alone that there is a row of."""
    return {
        row.study_id: read(row)
        for row in session.scalars(select(StudyArrivalRow).where(StudyArrivalRow.study_id.in_(ids)))
    }


def read(row: StudyArrivalRow) -> StudyArrival:
    """Return a row as what it says."""
    return StudyArrival(
        study_id=row.study_id,
        since=row.since,
        late_revisions=row.late_revisions,
        expected=row.expected,
        asked_at=row.asked_at,
        answered_at=row.answered_at,
        ask_code=row.ask_code,
        waits_for=Waiting(row.waits_for) if row.waits_for else None,
        hold=StudyState(row.hold) if row.hold else None,
        released_at=row.released_at,
    )


def reopened(session: Session, study: StudyRow, *, now: datetime) -> None:
    """Begin anew with a study that a late image has just opened again; its ``last_instance_at`` is the one before.

    The caller holds the study, and records the event.
    """
    row = _row(session, study)
    row.late_revisions = row.late_revisions + 1 if now - study.last_instance_at < _TRICKLE else 1
    row.since = now
    row.expected = row.asked_at = row.answered_at = row.ask_code = None
    row.waits_for = row.hold = row.released_at = None
    session.flush()


def let_go(session: Session, study: StudyRow, *, now: datetime) -> None:
    """Have an open study closed at the next look, whatever is missing; the caller holds it and records the event."""
    row = _row(session, study)
    row.released_at, row.hold, row.waits_for = now, None, None
    session.flush()


def closed(session: Session, study: StudyRow) -> StudyArrival:
    """Take note that a study is closed, and return how far it was; the caller holds it and records the event."""
    row = _row(session, study)
    before = read(row)
    row.waits_for = row.hold = row.released_at = None
    session.flush()
    return before


def release(session: Session, study_id: int, *, actor: str, now: datetime) -> None:
    """Have a study analysed with the images that are there, though something of it is missing.

    One that was set aside is opened again for it, in the same revision. Raises RecordMissing, IllegalTransition for a
    study that is complete, and ImagesDeleted where retention deleted images of it.
    """
    study = _taken(session, study_id)
    deletions.require_images(session, study_id)
    row = _row(session, study)
    if study.closed_at is not None and row.hold is None:
        raise IllegalTransition(
            f"study {study_id} is complete: there is nothing to release; `oncue routes apply {study_id}` asks again"
        )
    details = {"revision": study.revision, "waits_for": row.waits_for, "hold": row.hold}
    study.closed_at = None
    let_go(session, study, now=now)
    _record(session, study, "study:released", actor=actor, now=now, details=details)
    standing.refresh(session, study_id)


def wait(session: Session, study_id: int, reason: Waiting, *, details: Mapping[str, Detail], now: datetime) -> None:
    """Record what a quiet study waits for; an event only where that is another thing than before."""
    study = study_locks.take(session, study_id)
    if study is None or study.closed_at is not None:
        return
    row = _row(session, study)
    if row.waits_for == reason.value:
        return
    row.waits_for = reason.value
    details = {"reason": reason.value, "revision": study.revision, **details}
    _record(session, study, "study:waiting", actor=_ACTOR, now=now, details=details)


def hold_back(session: Session, study_id: int, held: HeldBack, *, now: datetime) -> bool:
    """Hold a study back at its deadline until a person releases it; one that is set aside is closed without jobs.

    Returns False where an image, a release or another gateway came first.
    """
    study = study_locks.take(session, study_id)
    if study is None or study.closed_at is not None or study.last_instance_at != held.last_instance_at:
        return False
    row = _row(session, study)
    if row.hold is not None or row.released_at is not None:
        return False
    row.hold, row.waits_for = held.state.value, held.reason.value
    gives_up = held.state is StudyState.SET_ASIDE
    if gives_up:
        study.closed_at = now
    session.flush()
    details = {"reason": held.reason.value, "revision": study.revision, **held.details}
    tag = "study:set-aside" if gives_up else "study:held"
    _record(session, study, tag, actor=_ACTOR, now=now, details=details)
    if gives_up:
        notices.open_notice(session, study_id, notices.Subject(study.revision, notices.SET_ASIDE), now=now)
    standing.refresh(session, study_id, recount=gives_up)
    return True


def ask(session: Session, study_id: int, *, asked_before: datetime | None, now: datetime) -> bool:
    """Take the question to a study's source upon oneself; False where another gateway asked since, or it is closed."""
    study = study_locks.take(session, study_id)
    if study is None or study.closed_at is not None:
        return False
    row = _row(session, study)
    if row.asked_at != asked_before:
        return False
    row.asked_at = now
    return True


def answered(session: Session, study_id: int, answer: SourceAnswer, *, now: datetime) -> None:
    """Record what a study's source said; an event only where that is another thing than before.

    A number that was known stays where the source does not answer any more.
    """
    study = study_locks.take(session, study_id)
    if study is None or study.closed_at is not None:
        return
    row = _row(session, study)
    expected = row.expected if answer.expected is None else answer.expected
    is_new = (expected, answer.code) != (row.expected, row.ask_code) or row.answered_at is None
    row.expected, row.ask_code, row.answered_at = expected, answer.code, now
    if is_new:
        tag = "study:counted" if answer.code is None else "study:count-failed"
        details = {"revision": study.revision, "expected": expected, "code": answer.code}
        _record(session, study, tag, actor=_ACTOR, now=now, details=details)


def clock_went_back(session: Session, study_id: int, *, now: datetime) -> None:
    """Count the quiet time and the deadline of a study from now where the clock was set back behind its images."""
    study = study_locks.take(session, study_id)
    if study is None or study.closed_at is not None:
        return
    study.last_instance_at = min(study.last_instance_at, now)
    row = _row(session, study)
    row.since = min(row.since, now)
    if row.asked_at is not None and row.asked_at > now:
        row.asked_at = row.answered_at = None


def _taken(session: Session, study_id: int) -> StudyRow:
    study = study_locks.take(session, study_id)
    if study is None:
        raise RecordMissing(f"there is no study {study_id}; see `oncue studies list`")
    return study


def _row(session: Session, study: StudyRow) -> StudyArrivalRow:
    """Return the row of a study that the caller holds; it is made where there is none."""
    row = session.get(StudyArrivalRow, study.id, populate_existing=True)
    if row is None:
        row = StudyArrivalRow(study_id=study.id, since=study.opened_at, late_revisions=0)
        session.add(row)
        session.flush()
    return row


def _record(
    session: Session, study: StudyRow, tag: str, *, actor: str, now: datetime, details: Mapping[str, Detail]
) -> None:
    audit.record(
        session,
        tag,
        f"study/{study.study_instance_uid}",
        actor=actor,
        now=now,
        details=details,
        study=audit.concerned(study),
    )
