"""A workitem for each study that is to be read: opened, changed and ended as results come and people read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from storage import held_results, study_locks
from storage.attributes import Attributes, Element, date_time, element, sequence
from storage.domain import Priority
from storage.models import StandingRow, StudyRow
from storage.result_tables import AnalysisRow
from storage.uids import deterministic_uid
from storage.workitems.attributes import Tag, code
from storage.workitems.requirements import created
from storage.workitems.rows import OWN, NewWorkitem, add, move, record
from storage.workitems.tables import WorkitemPriority, WorkitemRow, WorkitemState
from storage.workitems.transitions import ended

PRIORITIES: Mapping[Priority, WorkitemPriority] = {
    Priority.STAT: WorkitemPriority.HIGH,
    Priority.HIGH: WorkitemPriority.HIGH,
    Priority.ROUTINE: WorkitemPriority.MEDIUM,
    Priority.LOW: WorkitemPriority.LOW,
}
"""HIGH «is to be used for an emergent or urgent procedure, equivalent to a STAT request» (PS3.3 C.30.2)."""

_INTERPRETATION = code("110005", "DCM", "Interpretation")
_THIS_STATION = code("ONCUE", "99ONCUE", "oncue console")
_LONGEST_LABEL = 64
CLAIM_HOLDS = timedelta(hours=12)
"""So long after its last change a claim stands in the way of a new workitem: performers are lost with their locks."""


@dataclass(frozen=True, slots=True)
class _Lead:
    """The result that leads, as far as a workitem tells of it."""

    priority: Priority
    rule: str


def note_result(session: Session, study_id: int, *, actor: str, now: datetime) -> None:
    """Have the workitem of a study say what its results say now; the study's standing is up to date.

    One is opened where there is an unread result and none is under way, also after an earlier one ended. A SCHEDULED
    one follows the priority, and is canceled where no result holds any more. One that somebody claimed stays as it is,
    unless nothing was heard of them for ``CLAIM_HOLDS``: then it is canceled, and another is opened.
    """
    study_locks.take(session, study_id)
    lead, newest = _lead(session, study_id), _newest(session, study_id)
    if newest is not None and newest.state == WorkitemState.SCHEDULED.value:
        if lead is None:
            _cancel(session, newest, "no result holds any more", actor=actor, now=now)
        else:
            _follow(session, newest, lead, actor=actor, now=now)
    elif lead is not None and _is_unread(session, study_id) and not _is_held(newest, now=now):
        if newest is not None and newest.state == WorkitemState.IN_PROGRESS.value:
            _cancel(session, newest, "nothing was heard of its performer", actor=actor, now=now)
        _open(session, study_id, lead, actor=actor, now=now)


def _is_held(row: WorkitemRow | None, *, now: datetime) -> bool:
    """Say whether somebody has claimed a workitem, and may still be at it."""
    return row is not None and row.state == WorkitemState.IN_PROGRESS.value and now - row.changed_at < CLAIM_HOLDS


def study_read(session: Session, study_id: int, *, actor: str, now: datetime) -> None:
    """Complete the workitem of a study that a person read at the console, unless somebody has claimed it."""
    row = _newest(session, study_id)
    if row is None or row.state != WorkitemState.SCHEDULED.value:
        return
    performed = {
        Tag.PerformedStationNameCodeSequence: sequence(_THIS_STATION),
        Tag.PerformedWorkitemCodeSequence: sequence(_INTERPRETATION),
        Tag.PerformedProcedureStepStartDateTime: date_time(now),
        Tag.PerformedProcedureStepEndDateTime: date_time(now),
        Tag.OutputInformationSequence: element("SQ"),
    }
    content = Attributes.parse(row.content)
    content = content.changed({Tag.UnifiedProcedureStepPerformedProcedureSequence: sequence(_texts(performed))})
    row.content = ended(content, WorkitemState.COMPLETED, now=now).text()
    move(session, row, WorkitemState.COMPLETED, actor=actor, now=now, details={"through": "console"})


def without_workitem(session: Session, *, limit: int) -> tuple[int, ...]:
    """Return studies with an unread result that never had a workitem: those of before there were any."""
    own = select(WorkitemRow.id).where(WorkitemRow.study_id == StandingRow.study_id, WorkitemRow.created_by == OWN)
    query = (
        select(StandingRow.study_id)
        .where(StandingRow.unread, StandingRow.complete, StandingRow.rank < len(Priority), ~exists(own))
        .order_by(StandingRow.rank, StandingRow.study_id)
        .limit(limit)
    )
    return tuple(session.scalars(query))


def undescribed(session: Session, *, limit: int) -> tuple[tuple[int, int], ...]:
    """Return workitems that lack what an image's header tells, each as its number and that of its study."""
    query = (
        select(WorkitemRow.id, WorkitemRow.study_id)
        .where(WorkitemRow.described.is_(False), WorkitemRow.study_id.is_not(None))
        .order_by(WorkitemRow.id)
        .limit(limit)
    )
    return tuple((number, study_id) for number, study_id in session.execute(query) if study_id is not None)


def describe(session: Session, workitem_id: int, described: Attributes) -> None:
    """Write what an image's header tells of patient and order into a workitem; no event, for nothing was decided."""
    row = session.get(WorkitemRow, workitem_id, with_for_update=True, populate_existing=True)
    if row is None or row.described:
        return
    row.content = Attributes.parse(row.content).changed(described.elements).text()
    row.described = True
    session.flush()


def _open(session: Session, study_id: int, lead: _Lead, *, actor: str, now: datetime) -> None:
    study = session.get_one(StudyRow, study_id)
    made = select(func.count()).where(WorkitemRow.study_id == study_id, WorkitemRow.created_by == OWN)
    ordinal = (session.scalar(made) or 0) + 1
    uid = deterministic_uid("workitem", study.study_instance_uid, str(ordinal))
    new = NewWorkitem(OWN, study_id, is_to_be_described=True)
    row = add(session, uid, created(_content(study, lead, now=now)), new, now=now)
    details = {"revision": study.revision, "reading_priority": lead.priority.value, "rule": lead.rule}
    record(session, row, "workitem:created", actor=actor, now=now, details=details)


def _content(study: StudyRow, lead: _Lead, *, now: datetime) -> Attributes:
    request = {
        Tag.StudyInstanceUID: element("UI", study.study_instance_uid),
        Tag.AccessionNumber: _text("SH", study.accession_number),
        Tag.RequestedProcedureID: element("SH"),
        Tag.RequestedProcedureDescription: _text("LO", study.study_description),
    }
    what = {
        Tag.ProcedureStepState: element("CS", WorkitemState.SCHEDULED.value),
        Tag.ScheduledProcedureStepPriority: element("CS", PRIORITIES[lead.priority].value),
        Tag.ProcedureStepLabel: element("LO", (study.study_description.strip() or "Interpretation")[:_LONGEST_LABEL]),
        Tag.ScheduledProcedureStepStartDateTime: date_time(now),
        Tag.InputReadinessState: element("CS", "READY"),
        Tag.ScheduledWorkitemCodeSequence: sequence(_INTERPRETATION),
        Tag.CommentsOnTheScheduledProcedureStep: _comment(lead),
        Tag.StudyInstanceUID: element("UI", study.study_instance_uid),
        Tag.PatientID: _text("LO", study.patient_id),
        Tag.ReferencedRequestSequence: sequence(_texts(request)),
    }
    return Attributes(_texts(what))


def _follow(session: Session, row: WorkitemRow, lead: _Lead, *, actor: str, now: datetime) -> None:
    priority, comment = PRIORITIES[lead.priority].value, _comment(lead)
    content = Attributes.parse(row.content)
    tag = Tag.CommentsOnTheScheduledProcedureStep
    if row.priority == priority and content.values(tag) == tuple(comment["Value"]):
        return
    previous, row.priority = row.priority, priority
    row.content = content.changed({tag.value: comment}).text()
    details = {"previous": previous, "reading_priority": lead.priority.value, "rule": lead.rule}
    record(session, row, "workitem:prioritised", actor=actor, now=now, details=details)


def _cancel(session: Session, row: WorkitemRow, reason: str, *, actor: str, now: datetime) -> None:
    row.content = ended(Attributes.parse(row.content), WorkitemState.CANCELED, now=now).text()
    move(session, row, WorkitemState.CANCELED, actor=actor, now=now, details={"reason": reason})


def _lead(session: Session, study_id: int) -> _Lead | None:
    results = held_results.of_studies(session, [study_id], waits_for=lambda _: None).get(study_id, ())
    leading = held_results.leading(results)
    priority = held_results.priority_of(leading)
    if leading is None or priority is None:
        return None
    rule = session.scalar(select(AnalysisRow.rule).where(AnalysisRow.job_id == leading.result_job_id))
    return _Lead(priority, rule or "")


def _newest(session: Session, study_id: int) -> WorkitemRow | None:
    query = select(WorkitemRow).where(WorkitemRow.study_id == study_id, WorkitemRow.created_by == OWN)
    query = query.order_by(WorkitemRow.id.desc()).limit(1).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def _is_unread(session: Session, study_id: int) -> bool:
    return bool(session.scalar(select(StandingRow.unread).where(StandingRow.study_id == study_id)))


def _comment(lead: _Lead) -> Element:
    """Say what a workitem's three priorities cannot: which of the four it is, and by which rule of the policy."""
    return element("LT", f"Reading priority {lead.priority.value} by the rule {lead.rule}")


def _text(vr: str, value: str) -> Element:
    return element(vr, value.strip()) if value.strip() else element(vr)


def _texts(elements: Mapping[Tag, Element]) -> dict[str, Element]:
    return {tag.value: value for tag, value in elements.items()}
