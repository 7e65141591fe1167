"""Workitems as peers make, change and claim them, by the rules of the Unified Procedure Step service (PS3.4 CC.2)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import read_marks
from storage.announcing import urgent_studies
from storage.announcing.tables import OpenedThrough
from storage.attributes import Attributes, sequence
from storage.models import JobRow, StudyRow
from storage.result_tables import AnalysisRow
from storage.uids import is_uid
from storage.workitems import opening, requirements, rows, transitions
from storage.workitems.attributes import Tag
from storage.workitems.refusals import Refusal, Remark, WorkitemRefused
from storage.workitems.rows import NewWorkitem, Workitem
from storage.workitems.tables import WorkitemRow, WorkitemState

MOST_OPEN_OF_ONE = 10_000
"""Workitems of one maker that have not ended; whoever makes more has to end some first."""

_ENDED = (WorkitemState.COMPLETED.value, WorkitemState.CANCELED.value)
_OPEN = (WorkitemState.SCHEDULED.value, WorkitemState.IN_PROGRESS.value)
_REASONS = (Tag.ReasonForCancellation, Tag.ProcedureStepDiscontinuationReasonCodeSequence)


def create(session: Session, sop_instance_uid: str, content: Attributes, *, actor: str, now: datetime) -> Workitem:
    """Make a workitem (CC.2.5); WorkitemRefused where the data set, the UID or the number of them breaks a rule."""
    if not is_uid(sop_instance_uid):
        raise WorkitemRefused(Refusal.INVALID_ATTRIBUTE_VALUE, "the SOP Instance UID is none: 1 to 64 digits and dots")
    content = requirements.created(content)
    _require_room(session, actor)
    new = NewWorkitem(actor, _study_id(session, content.value(Tag.StudyInstanceUID)))
    row = rows.add(session, sop_instance_uid, content, new, now=now)
    rows.record(session, row, "workitem:created", actor=actor, now=now)
    return rows.of_row(row)


def find(session: Session, sop_instance_uid: str) -> Workitem:
    """Return a workitem (CC.2.7); WorkitemRefused where there is none of this UID."""
    return rows.of_row(rows.find(session, sop_instance_uid))


def change(
    session: Session, sop_instance_uid: str, changes: Attributes, *, transaction_uid: str, actor: str, now: datetime
) -> None:
    """Put attributes in the place of a workitem's own (CC.2.6).

    A SCHEDULED one is anybody's to change, without a Transaction UID; one IN PROGRESS is its performer's.
    WorkitemRefused where a rule is broken.
    """
    row = rows.take(session, sop_instance_uid)
    state = WorkitemState(row.state)
    if state.value in _ENDED:
        raise transitions.refused(Refusal.MAY_NO_LONGER_BE_UPDATED)
    if state is WorkitemState.SCHEDULED and transaction_uid:
        raise transitions.refused(Refusal.NOT_YET_IN_PROGRESS)
    if state is WorkitemState.IN_PROGRESS and transaction_uid != row.transaction_uid:
        raise transitions.refused(Refusal.TRANSACTION_UID_NOT_CORRECT)
    changes = requirements.changeable(changes)
    content = Attributes.parse(row.content).changed(changes.elements)
    requirements.checked(content)
    for column, value in rows.columns(content).items():
        setattr(row, column, value)
    names = ",".join(sorted(changes))
    rows.record(session, row, "workitem:changed", actor=actor, now=now, details={"attributes": names[:1000]})


def change_state(
    session: Session, sop_instance_uid: str, wanted: str, *, transaction_uid: str, actor: str, now: datetime
) -> Remark | None:
    """Move a workitem on (CC.2.1), and return a remark where it is in that state already; WorkitemRefused.

    Whoever claims one has opened its study. When it is COMPLETED the study is read, unless a result came since the
    claim; then there is another workitem for that.
    """
    row = rows.take(session, sop_instance_uid)
    if wanted not in list(WorkitemState):
        raise WorkitemRefused(Refusal.INVALID_ATTRIBUTE_VALUE, "the Procedure Step State is none of the four")
    state = transitions.asked(
        WorkitemState(wanted), WorkitemState(row.state), is_correct=_is_correct(row, transaction_uid)
    )
    if isinstance(state, Remark):
        return state
    if state is WorkitemState.IN_PROGRESS:
        row.transaction_uid, row.claimed_by, row.claimed_at = transaction_uid, actor, now
        rows.move(session, row, state, actor=actor, now=now)
        if row.study_id is not None and row.created_by == rows.OWN:
            urgent_studies.opened(session, row.study_id, by=actor, through=OpenedThrough.WORKITEM, now=now)
        return None
    row.content = transitions.ended(Attributes.parse(row.content), state, now=now).text()
    rows.move(session, row, state, actor=actor, now=now)
    _follow_end(session, row, state, actor=actor, now=now)
    return None


def request_cancel(
    session: Session, sop_instance_uid: str, reasons: Attributes, *, actor: str, now: datetime
) -> Remark | None:
    """Cancel a workitem that nobody has claimed (CC.2.2), and return a remark where it is CANCELED; WorkitemRefused."""
    row = rows.take(session, sop_instance_uid)
    state = transitions.cancel_asked(WorkitemState(row.state))
    if isinstance(state, Remark):
        return state
    content = Attributes.parse(row.content)
    given = reasons.only(_REASONS)
    if given.elements:
        content = content.changed({Tag.ProcedureStepProgressInformationSequence: sequence(given.elements)})
    row.content = transitions.ended(content, state, now=now).text()
    requirements.checked(Attributes.parse(row.content))
    rows.move(session, row, state, actor=actor, now=now, details={"through": "request"})
    return None


def _follow_end(session: Session, row: WorkitemRow, state: WorkitemState, *, actor: str, now: datetime) -> None:
    """Mark as read what whoever claimed a workitem has read, and open another one for what came since.

    Workitems that others made may be about anything that is to be done with a study: they say nothing of its reading.
    """
    if row.study_id is None or row.created_by != rows.OWN or state is not WorkitemState.COMPLETED:
        return
    if _has_seen_all(session, row):
        read_marks.put(session, row.study_id, actor=actor, now=now)
    else:
        opening.note_result(session, row.study_id, actor=actor, now=now)


def _has_seen_all(session: Session, row: WorkitemRow) -> bool:
    """Say whether the study has results, and none that came after the claim."""
    query = (
        select(func.max(AnalysisRow.analysed_at))
        .join(JobRow, JobRow.id == AnalysisRow.job_id)
        .where(JobRow.study_id == row.study_id, AnalysisRow.superseded_at.is_(None))
    )
    newest: datetime | None = session.scalar(query)
    return newest is not None and row.claimed_at is not None and newest <= row.claimed_at


def _is_correct(row: WorkitemRow, transaction_uid: str) -> bool:
    """Say whether a Transaction UID is the lock of a workitem; for one that has none, any UID will be."""
    if row.state == WorkitemState.SCHEDULED.value:
        return is_uid(transaction_uid)
    return row.transaction_uid is not None and transaction_uid == row.transaction_uid


def _study_id(session: Session, study_instance_uid: str) -> int | None:
    return session.scalar(select(StudyRow.id).where(StudyRow.study_instance_uid == study_instance_uid))


def _require_room(session: Session, actor: str) -> None:
    query = select(func.count()).where(WorkitemRow.created_by == actor, WorkitemRow.state.in_(_OPEN))
    if (session.scalar(query) or 0) >= MOST_OPEN_OF_ONE:
        raise WorkitemRefused(
            Refusal.RESOURCE_LIMITATION, f"{MOST_OPEN_OF_ONE} workitems of this maker have not ended: end some first"
        )
