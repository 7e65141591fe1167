"""The outbox between analysis and delivery: which analyses still need their DICOM objects written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, calling_off, deliveries, delivery_lists, outbox, study_locks, superseding, written_objects
from storage.delivery_lists import Delivery
from storage.delivery_tables import DeliveryRow
from storage.domain import ObjectKind
from storage.errors import RecordMissing
from storage.models import JobRow, StudyRow
from storage.result_tables import AnalysisRow, ReportRow, ResultObjectRow
from storage.states import ReportState
from storage.written_objects import Origin, WrittenObject


@dataclass(frozen=True, slots=True)
class PendingReport:
    """An analysis whose objects are due to be written; ``analysed_at`` is the time that they carry."""

    job_id: int
    study_instance_uid: str
    revision: int
    analysed_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class AddressedObject:
    """A written object and the names of the destinations that it goes to."""

    item: WrittenObject
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordedChoice:
    """In which forms a result goes to a destination, where these are not the ones that were asked for.

    ``reason`` says why in coded words. ``left_out`` are those that were asked for, or might have stood in, and are not
    sent: what was put on its way of them before is called off.
    """

    destination: str
    asked: tuple[ObjectKind, ...]
    chosen: tuple[ObjectKind, ...]
    reason: str
    left_out: frozenset[ObjectKind]


def moment_of(session: Session, job_id: int) -> datetime:
    """Return the time that the objects of a job carry; RecordMissing where it has no analysis."""
    analysed_at = session.scalar(select(AnalysisRow.analysed_at).where(AnalysisRow.job_id == job_id))
    if analysed_at is None:
        raise RecordMissing(f"job {job_id} has no analysis")
    return analysed_at


def due(session: Session, *, now: datetime, limit: int = 20) -> tuple[PendingReport, ...]:
    """Return the reports to be written now, oldest first."""
    query = (
        select(
            ReportRow.job_id, StudyRow.study_instance_uid, JobRow.revision, AnalysisRow.analysed_at, ReportRow.attempts
        )
        .join(AnalysisRow, AnalysisRow.job_id == ReportRow.job_id)
        .join(JobRow, JobRow.id == ReportRow.job_id)
        .join(StudyRow, StudyRow.id == JobRow.study_id)
        .where(ReportRow.state == ReportState.PENDING.value, ReportRow.next_attempt_at <= now)
        .order_by(ReportRow.next_attempt_at, ReportRow.job_id)
        .limit(limit)
    )
    return tuple(PendingReport(*row) for row in session.execute(query))


def known_object(session: Session, sop_instance_uid: str) -> WrittenObject | None:
    """Return the object that was already written under a UID: the same UID must always name the same bytes."""
    row = session.scalars(
        select(ResultObjectRow).where(ResultObjectRow.sop_instance_uid == sop_instance_uid).limit(1)
    ).one_or_none()
    return None if row is None else written_objects.written_object(row)


def written(
    session: Session, job_id: int, objects: Sequence[WrittenObject], *, destinations: Sequence[str], now: datetime
) -> None:
    """Record the objects of a report and open one delivery for each object and destination.

    Writing a report twice changes nothing: a lost race between two gateways ends here.
    """
    addressed = [AddressedObject(item, tuple(destinations)) for item in objects]
    written_to(session, job_id, addressed, choices=(), now=now)


def written_to(
    session: Session,
    job_id: int,
    objects: Sequence[AddressedObject],
    *,
    choices: Sequence[RecordedChoice],
    now: datetime,
) -> None:
    """Record the objects of a report, each with the deliveries that are its own, and in which forms it goes where.

    A form that a destination does not take is called off there. Where a reopened report changes nothing for a
    destination, its choice stands on record already.
    """
    study_locks.take_of_job(session, job_id)
    report = session.get_one(ReportRow, job_id, populate_existing=True)
    if report.state != ReportState.PENDING.value:
        return
    is_first = not was_written(session, job_id)
    before = delivery_lists.count_by_destination(session, job_id)
    report.state, report.code, report.reason = ReportState.WRITTEN.value, None, None
    for each in objects:
        row = object_row(session, job_id, each.item, now=now)
        deliveries.open_deliveries(session, row, each.destinations, now=now)
    after = delivery_lists.count_by_destination(session, job_id)
    for choice in choices:
        called_off = calling_off.call_off_forms(session, job_id, choice.destination, choice.left_out, now=now)
        if is_first or called_off or before.get(choice.destination) != after.get(choice.destination):
            _record_choice(session, job_id, choice, now=now)


def was_written(session: Session, job_id: int) -> bool:
    """Whether the objects of a job were written before: a report of it is on record."""
    query = select(ResultObjectRow.id).where(
        ResultObjectRow.job_id == job_id, ResultObjectRow.kind == ObjectKind.SR.value
    )
    return session.scalar(query.limit(1)) is not None


def reopened(session: Session, job_id: int, *, destination: str, code: str, now: datetime) -> bool:
    """Have the forms of a written report chosen anew, since a destination does not take what was chosen.

    Returns whether it will be: not where a later result took its place, or where it is open already.
    """
    study_locks.take_of_job(session, job_id)
    report = session.get(ReportRow, job_id, populate_existing=True)
    analysis = session.get(AnalysisRow, job_id, populate_existing=True)
    if report is None or analysis is None or analysis.superseded_at is not None:
        return False
    if report.state != ReportState.WRITTEN.value:
        return False
    report.state, report.attempts, report.next_attempt_at = ReportState.PENDING.value, 0, now
    audit.record(
        session,
        "report:reopened",
        f"job/{job_id}",
        actor="delivery",
        now=now,
        details={"destination": destination, "code": code},
        study=audit.study_of_job(session, job_id),
    )
    return True


def replaced_report(session: Session, job_id: int, destinations: Collection[str] = ()) -> WrittenObject | None:
    """Return the SR that this job's SR replaces, or None: the last that was written of the route's earlier results.

    Of several, in different styles, it is one that went to the ``destinations`` if there is any. It need not be of the
    very last result, which may have been withheld, nor of one that this job superseded: a route may have ceased to want
    the study in between. Whoever got that SR was told to set it aside, so the new objects, of the same images perhaps,
    must be others.
    """
    for before in superseding.predecessors_of(session, job_id):
        found = [item for item in objects_of(session, before) if item.kind is ObjectKind.SR]
        if found:
            known = {item.sop_instance_uid for item in found}
            sent = _gone_to(session, before, destinations) & known
            return next((item for item in found if item.sop_instance_uid in sent), found[0])
    return None


def requested(
    session: Session, job_id: int, item: WrittenObject, *, destination: str | None, actor: str, now: datetime
) -> tuple[Delivery, ...]:
    """Record that somebody asked for an object of a job, and put it on its way where a destination is named.

    An object that was sent there before is sent once more: the same UID with the same bytes, which is stored once.
    Returns its deliveries to that destination.
    """
    study_locks.take_of_job(session, job_id)
    row = object_row(session, job_id, item, now=now, actor=actor)
    audit.record(
        session,
        "object:requested",
        f"instance/{item.sop_instance_uid}",
        actor=actor,
        now=now,
        details={
            "job": job_id,
            "series": item.series_instance_uid,
            "kind": item.kind.value,
            "destination": destination,
        },
        study=audit.study_of_job(session, job_id),
    )
    if destination is None:
        return ()
    deliveries.open_or_repeat(session, row, destination, actor=actor, now=now)
    found = delivery_lists.of_instance(session, item.sop_instance_uid)
    return tuple(each for each in found if each.job_id == job_id and each.destination == destination)


def failed(session: Session, job_id: int, *, code: str, reason: str, retryable: bool, now: datetime) -> ReportState:
    """Record that the objects could not be written; tried again later where that can help.

    Returns the state of a report that is not to be written any more, where another gateway or result was faster.
    """
    study_locks.take_of_job(session, job_id)
    report = session.get_one(ReportRow, job_id, populate_existing=True)
    if report.state != ReportState.PENDING.value:
        return ReportState(report.state)
    if not outbox.postpone(report, code=code, reason=reason, retryable=retryable, now=now):
        report.state = ReportState.FAILED.value
    audit.record(
        session,
        "report:failed" if report.state == ReportState.FAILED.value else "report:postponed",
        f"job/{job_id}",
        actor="delivery",
        now=now,
        details={"code": code, "attempt": report.attempts},
        study=audit.study_of_job(session, job_id),
    )
    return ReportState(report.state)


def objects_of(session: Session, job_id: int) -> tuple[WrittenObject, ...]:
    """Return the objects written for a job, SEG before SR."""
    query = select(ResultObjectRow).where(ResultObjectRow.job_id == job_id).order_by(ResultObjectRow.id)
    return tuple(written_objects.written_object(row) for row in session.scalars(query))


def object_row(
    session: Session, job_id: int, item: WrittenObject, *, now: datetime, actor: str = "delivery"
) -> ResultObjectRow:
    """Return the row of an object that was written for a job, added where it is new; the caller has taken the study."""
    known = session.scalars(
        select(ResultObjectRow).where(
            ResultObjectRow.job_id == job_id, ResultObjectRow.sop_instance_uid == item.sop_instance_uid
        )
    ).one_or_none()
    if known is not None:
        return known
    study_id = session.get_one(JobRow, job_id).study_id
    return written_objects.add(session, item, Origin(study_id, job_id=job_id), actor=actor, now=now)


def _gone_to(session: Session, job_id: int, destinations: Collection[str]) -> frozenset[str]:
    """Return the SOP Instance UIDs of a job's objects that have a delivery to one of some destinations."""
    query = (
        select(ResultObjectRow.sop_instance_uid)
        .join(DeliveryRow, DeliveryRow.object_id == ResultObjectRow.id)
        .where(ResultObjectRow.job_id == job_id, DeliveryRow.destination.in_(destinations))
    )
    return frozenset(session.scalars(query))


def _record_choice(session: Session, job_id: int, choice: RecordedChoice, *, now: datetime) -> None:
    audit.record(
        session,
        "forms:chosen",
        f"job/{job_id}",
        actor="delivery",
        now=now,
        details={
            "destination": choice.destination,
            "asked": ",".join(choice.asked),
            "chosen": ",".join(choice.chosen),
            "reason": choice.reason,
        },
        study=audit.study_of_job(session, job_id),
    )
