"""Workitems as rows: read, shown as data sets, moved from state to state, each change with its audit event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, new_rows, study_locks
from storage.attributes import Attributes, date_time, element
from storage.audit import Detail
from storage.workitems.attributes import Tag
from storage.workitems.refusals import Refusal, WorkitemRefused
from storage.workitems.requirements import moment
from storage.workitems.tables import WorkitemPriority, WorkitemRow, WorkitemState

UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
"""The SOP class of every workitem, whichever SOP class is negotiated (PS3.4 CC.3.1)."""

OWN = "oncue"
"""Who made the workitems of our own studies."""

DEFAULT_WORKLIST = "oncue"
"""The Worklist Label of our own workitems, and of those that come without one."""

_COLUMNS = (
    Tag.SOPClassUID,
    Tag.SOPInstanceUID,
    Tag.ProcedureStepState,
    Tag.ScheduledProcedureStepPriority,
    Tag.ProcedureStepLabel,
    Tag.WorklistLabel,
    Tag.ScheduledProcedureStepStartDateTime,
)
_EVENTS: Mapping[WorkitemState, str] = {
    WorkitemState.IN_PROGRESS: "workitem:claimed",
    WorkitemState.COMPLETED: "workitem:completed",
    WorkitemState.CANCELED: "workitem:canceled",
}


@dataclass(frozen=True, slots=True)
class Workitem:
    """A workitem. ``data_set`` is complete but for the Transaction UID, which is shown to nobody.

    ``study_id`` is None where the study is not ours; ``is_own`` says that we made it for a study.
    """

    id: int
    sop_instance_uid: str
    study_id: int | None
    state: WorkitemState
    is_own: bool
    data_set: Attributes


@dataclass(frozen=True, slots=True)
class NewWorkitem:
    """Who makes a workitem, of which of our studies, and whether an image's header is still to tell of it."""

    created_by: str
    study_id: int | None
    is_to_be_described: bool = False


def of_row(row: WorkitemRow) -> Workitem:
    """Return a row as a workitem."""
    columns = {
        Tag.SOPClassUID: element("UI", UPS_PUSH),
        Tag.SOPInstanceUID: element("UI", row.sop_instance_uid),
        Tag.ProcedureStepState: element("CS", row.state),
        Tag.ScheduledProcedureStepPriority: element("CS", row.priority),
        Tag.ProcedureStepLabel: element("LO", row.label),
        Tag.WorklistLabel: element("LO", row.worklist_label),
        Tag.ScheduledProcedureStepStartDateTime: date_time(row.scheduled_at),
    }
    data_set = Attributes.parse(row.content).changed({tag.value: value for tag, value in columns.items()})
    state = WorkitemState(row.state)
    return Workitem(row.id, row.sop_instance_uid, row.study_id, state, row.created_by == OWN, data_set)


def find(session: Session, sop_instance_uid: str) -> WorkitemRow:
    """Return the row of a UID; WorkitemRefused where there is none."""
    row = session.scalars(select(WorkitemRow).where(WorkitemRow.sop_instance_uid == sop_instance_uid)).one_or_none()
    if row is None:
        raise WorkitemRefused(Refusal.NO_SUCH_WORKITEM, "no workitem has this SOP Instance UID")
    return row


def take(session: Session, sop_instance_uid: str) -> WorkitemRow:
    """Wait until nobody else changes a workitem, nor its study, and return its row; errors as of ``find``."""
    study_id = find(session, sop_instance_uid).study_id
    if study_id is not None:
        study_locks.take(session, study_id)
    query = select(WorkitemRow).where(WorkitemRow.sop_instance_uid == sop_instance_uid).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one()


def add(
    session: Session, sop_instance_uid: str, content: Attributes, new: NewWorkitem, *, now: datetime
) -> WorkitemRow:
    """Add a SCHEDULED workitem and return its row; WorkitemRefused where one has its UID."""
    values = {
        "sop_instance_uid": sop_instance_uid,
        "study_id": new.study_id,
        "state": WorkitemState.SCHEDULED.value,
        "worklist_label": DEFAULT_WORKLIST,
        "described": not new.is_to_be_described,
        "created_by": new.created_by,
        "created_at": now,
        "changed_at": now,
        **columns(content),
    }
    if not new_rows.add_if_new(session, WorkitemRow, values):
        raise WorkitemRefused(Refusal.DUPLICATE_SOP_INSTANCE, "a workitem of this SOP Instance UID is there already")
    return find(session, sop_instance_uid)


def columns(content: Attributes) -> dict[str, object]:
    """Return what a data set says in the columns of a row; those that it does not speak of are left out."""
    found: dict[str, object] = {"content": content.without(_COLUMNS).text()}
    if priority := content.value(Tag.ScheduledProcedureStepPriority):
        found["priority"] = WorkitemPriority(priority).value
    if label := content.value(Tag.ProcedureStepLabel):
        found["label"] = label
    if worklist_label := content.value(Tag.WorklistLabel):
        found["worklist_label"] = worklist_label
    if start := content.value(Tag.ScheduledProcedureStepStartDateTime):
        found["scheduled_at"] = moment(start)
    return found


def move(
    session: Session,
    row: WorkitemRow,
    state: WorkitemState,
    *,
    actor: str,
    now: datetime,
    details: Mapping[str, Detail] | None = None,
) -> None:
    """Put a workitem into a state that the caller found that it may have."""
    row.state = state.value
    record(session, row, _EVENTS[state], actor=actor, now=now, details=details)


def record(
    session: Session,
    row: WorkitemRow,
    tag: str,
    *,
    actor: str,
    now: datetime,
    details: Mapping[str, Detail] | None = None,
) -> None:
    """Write that a workitem changed, and its event."""
    row.changed_at = now
    session.flush()
    audit.record(
        session,
        tag,
        f"workitem/{row.sop_instance_uid}",
        actor=actor,
        now=now,
        details={"priority": row.priority, "state": row.state, **(details or {})},
        study=None if row.study_id is None else audit.study_of(session, row.study_id),
    )
