"""The close of a study: which studies are open, what is to be known of each, and the step that ends its arrival."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from storage import (
    arrival_gaps,
    associations,
    audit,
    notices,
    route_jobs,
    routings,
    series,
    standing,
    study_arrivals,
    study_locks,
)
from storage.announcing import announcements, urgent_studies
from storage.arrival_tables import StudyArrivalRow
from storage.audit import Detail
from storage.fetching import studies as fetched_studies
from storage.models import InstanceRow, StudyRow
from storage.result_tables import ResultObjectRow
from storage.routes.file import Routes
from storage.routes.routing import Routing, route_study, unasked
from storage.routes.series_facts import SeriesFacts
from storage.sop_kinds import ImageKind, classes_of
from storage.study_arrivals import StudyArrival
from storage.workitems import opening

_HELD_ARE_WATCHED = timedelta(hours=1)
"""A held study that nothing came of for so long is not looked at any more; an image or a release brings it back."""

_PIXELS = classes_of(ImageKind.VOLUME) | classes_of(ImageKind.IMAGE) | classes_of(ImageKind.UNREAD)


_PRIOR = "it was fetched as an earlier study of its patient; `oncue routes apply` has it analysed"


class Reason(StrEnum):
    """Why a study was taken for complete."""

    QUIET = "quiet"
    EXPECTED = "expected_instances"
    DEADLINE = "deadline"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class SeenStudy:
    """A study as routes see it: what its series say, and the routes that are in force."""

    routes: Routes
    series: tuple[SeriesFacts, ...]


@dataclass(frozen=True, slots=True)
class ArrivingStudy:
    """A study that is open, as it stood at one moment; ``being_sent`` while an association is at work on it."""

    id: int
    study_instance_uid: str
    revision: int
    last_instance_at: datetime
    being_sent: bool
    arrival: StudyArrival


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a study is to be closed, and on which view of it that rests.

    ``details`` go into the event: quiet seconds, expected number, what was missing.
    """

    reason: Reason
    last_instance_at: datetime
    details: Mapping[str, Detail]


def arriving(session: Session, *, now: datetime) -> tuple[ArrivingStudy, ...]:
    """Return the open studies, the one that is quiet for longest first; those that are held for long are left out."""
    being_sent = associations.still_sending(now)
    query = (
        select(StudyRow, StudyArrivalRow, being_sent)
        .outerjoin(StudyArrivalRow, StudyArrivalRow.study_id == StudyRow.id)
        .where(StudyRow.closed_at.is_(None), _is_looked_at(now))
        .order_by(StudyRow.last_instance_at)
    )
    return tuple(_arriving(study, row, being_sent=sent) for study, row, sent in session.execute(query))


def close(
    session: Session, study_id: int, seen: SeenStudy, *, decision: Decision, now: datetime
) -> tuple[int, ...] | None:
    """Close a study that is still as it was judged, ask the routes, and open a job for each that wants something new.

    Returns the jobs' numbers, none for a study that no route wants; None where an image, a sender or another gateway
    came between.
    """
    study = study_locks.take(session, study_id)
    if study is None or not _still_holds(session, study, decision, now=now):
        return None
    study.closed_at = now
    arrival = study_arrivals.closed(session, study)
    count = session.scalar(select(func.count()).where(InstanceRow.study_id == study_id, InstanceRow.current)) or 0
    audit.record(
        session,
        "study:closed",
        f"study/{study.study_instance_uid}",
        actor="assembly",
        now=now,
        details={
            "revision": study.revision,
            "instances": count,
            "reason": decision.reason.value,
            "expected": arrival.expected,
            **decision.details,
        },
        study=audit.concerned(study),
    )
    arrival_gaps.measure(session, study_id, now=now)
    series.save(session, study_id, seen.series, now=now)
    routing = _routing(session, study, seen)
    routings.record(session, study, routing, seen.routes, now=now)
    opened = route_jobs.open_jobs(session, study, routing, now=now)
    if routing.applies:
        notices.withdraw(session, study_id, notices.NO_ROUTE, actor="assembly", now=now)
    elif not routing.unasked:
        notices.open_notice(session, study_id, notices.Subject(study.revision, notices.NOT_APPLICABLE), now=now)
    standing.refresh(session, study_id, recount=True)
    urgent_studies.note_result(session, study_id, actor="assembly", now=now)
    announcements.note_result(session, study_id, actor="assembly", now=now)
    opening.note_result(session, study_id, actor="assembly", now=now)
    return opened


def _routing(session: Session, study: StudyRow, seen: SeenStudy) -> Routing:
    """Ask the routes about a study; of one that came as an earlier study of its patient nothing is asked."""
    if fetched_studies.is_prior(session, study.study_instance_uid):
        return unasked(seen.routes, _PRIOR)
    return route_study(seen.routes, seen.series)


def images_of(session: Session, study_id: int) -> int:
    """Return how many current instances of a study have pixels: what a source's count is compared with."""
    conditions = (InstanceRow.study_id == study_id, InstanceRow.current, InstanceRow.sop_class_uid.in_(_PIXELS))
    return session.scalar(select(func.count()).where(*conditions)) or 0


def own_series(session: Session, study_id: int) -> frozenset[str]:
    """Return the series that oncue wrote for a study: a source that holds them counts them, too."""
    query = select(ResultObjectRow.series_instance_uid).where(ResultObjectRow.study_id == study_id)
    return frozenset(session.scalars(query))


def _is_looked_at(now: datetime) -> ColumnElement[bool]:
    return or_(StudyArrivalRow.hold.is_(None), StudyRow.last_instance_at > now - _HELD_ARE_WATCHED)


def _arriving(study: StudyRow, row: StudyArrivalRow | None, *, being_sent: bool) -> ArrivingStudy:
    arrival = study_arrivals.read(row) if row is not None else StudyArrival(study.id, since=study.opened_at)
    return ArrivingStudy(
        id=study.id,
        study_instance_uid=study.study_instance_uid,
        revision=study.revision,
        last_instance_at=study.last_instance_at,
        being_sent=being_sent,
        arrival=arrival,
    )


def _still_holds(session: Session, study: StudyRow, decision: Decision, *, now: datetime) -> bool:
    if study.closed_at is not None or study.last_instance_at != decision.last_instance_at:
        return False
    if decision.reason is not Reason.QUIET:
        return True
    at_work = select(StudyRow.id).where(StudyRow.id == study.id, associations.still_sending(now))
    return session.scalar(at_work) is None
