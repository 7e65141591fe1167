"""A person has read what there is of a study: it leaves the worklist, and its workitem ends, until more comes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from storage import read_marks
from storage.announcing import urgent_studies
from storage.announcing.tables import OpenedThrough
from storage.workitems import opening


def mark_read(session: Session, study_id: int, *, actor: str, now: datetime) -> None:
    """Mark the results of a study as read; whoever does has opened it. A mark that is there already stays.

    A new result, or a priority that is higher than now, puts the study back. IllegalTransition where it has none. A
    workitem that nobody has claimed is COMPLETED.
    """
    is_new = read_marks.put(session, study_id, actor=actor, now=now)
    urgent_studies.opened(session, study_id, by=actor, through=OpenedThrough.MARK, now=now)
    if is_new:
        opening.study_read(session, study_id, actor=actor, now=now)


def mark_unread(session: Session, study_id: int, *, actor: str, now: datetime) -> None:
    """Take the mark of a study back, so that it is on the worklist again; nothing changes where it has none."""
    if read_marks.take_back(session, study_id, actor=actor, now=now):
        opening.note_result(session, study_id, actor=actor, now=now)
