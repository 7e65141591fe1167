"""Where each study stands, kept beside it so that lists are ordered, filtered and paged by indexes.

Whoever changes jobs, results or the arrival of a study calls ``refresh`` at the end, in the same transaction, once all
jobs that it touches are written: the order study, jobs, standing keeps two transactions from waiting for each other.
"""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from storage import held_results
from storage.arrival_tables import StudyArrivalRow
from storage.deletion_tables import AnalysisFileRow
from storage.domain import Holding
from storage.models import InstanceRow, JobRow, StandingRow, StudyRow
from storage.result_tables import AnalysisRow, ResultObjectRow
from storage.states import StudyState


def refresh(session: Session, study_id: int, *, recount: bool = False) -> StandingRow:
    """Work out anew where a study stands, by the rules that its entry in the lists follows, and write that down.

    The row is locked before anything is read: of two transactions that change one study, the later one sees what the
    earlier one wrote. ``recount`` counts the instances again.
    """
    row = _locked(session, study_id)
    results = held_results.of_studies(session, [study_id], waits_for=lambda _: None).get(study_id, ())
    closed_at, last_instance_at, hold = session.execute(
        select(StudyRow.closed_at, StudyRow.last_instance_at, StudyArrivalRow.hold)
        .outerjoin(StudyArrivalRow, StudyArrivalRow.study_id == StudyRow.id)
        .where(StudyRow.id == study_id)
    ).one()
    lead = held_results.leading(results)
    row.state = held_results.state_of(results, closed=closed_at is not None, hold=hold).value
    row.complete = closed_at is not None
    row.rank = held_results.rank_of(held_results.priority_of(lead))
    row.minus_confidence = 0.0 - ((lead.confidence if lead else None) or 0.0)
    row.arrived_at = last_instance_at
    row.leading_job_id = lead.result_job_id if lead else None
    valid = results_that_hold(session, study_id)
    row.analysed = bool(valid)
    row.waiting = not valid and row.state != StudyState.NOT_APPLICABLE.value
    row.unread = bool(valid) and not _is_read(row, valid)
    row.keeps_results, row.keeps_pictures = _keeps(session, study_id)
    if recount:
        _recount(session, row)
    session.flush()
    return row


def note_written(session: Session, study_id: int) -> None:
    """Note that an object was written for a study that the caller has taken: retention may delete it again."""
    missing = StandingRow.study_id == study_id, StandingRow.keeps_results.is_(False)
    session.execute(update(StandingRow).where(*missing).values(keeps_results=True))


def begin(session: Session, study_id: int, *, now: datetime) -> None:
    """Write where a study stands whose first image has just come."""
    session.add(arriving(study_id, now))
    session.flush()


def results_that_hold(session: Session, study_id: int) -> tuple[str, ...]:
    """Return what tells each valid result of a study from every other, those of a job that was tried again too."""
    query = (
        select(AnalysisRow.job_id, AnalysisRow.analysed_at)
        .join(JobRow, JobRow.id == AnalysisRow.job_id)
        .where(JobRow.study_id == study_id, AnalysisRow.superseded_at.is_(None))
        .order_by(AnalysisRow.job_id)
    )
    return tuple(f"{job_id}@{analysed_at.isoformat()}" for job_id, analysed_at in session.execute(query))


def _is_read(row: StandingRow, valid: tuple[str, ...]) -> bool:
    """Say whether what somebody marked as read is still all that there is, and no more urgent than it was."""
    if row.read_at is None or row.read_rank is None:
        return False
    return set(valid) <= set(json.loads(row.read_results or "[]")) and row.rank >= row.read_rank


def _locked(session: Session, study_id: int) -> StandingRow:
    session.flush()
    row = session.get(StandingRow, study_id, with_for_update=True, populate_existing=True)
    if row is None:
        opened_at = session.scalars(select(StudyRow.opened_at).where(StudyRow.id == study_id)).one()
        row = arriving(study_id, opened_at)
        session.add(row)
    return row


def arriving(study_id: int, moment: datetime) -> StandingRow:
    """Return the standing of a study whose first image came at a moment."""
    return StandingRow(
        study_id=study_id,
        state=StudyState.RECEIVING.value,
        rank=held_results.rank_of(None),
        minus_confidence=0.0,
        arrived_at=moment,
        leading_job_id=None,
        instances=0,
        complete=False,
        analysed=False,
        waiting=True,
        unread=False,
        image_bytes=0,
        keeps_images=False,
        keeps_results=False,
        keeps_pictures=False,
    )


def _recount(session: Session, row: StandingRow) -> None:
    """Count the current instances, and add up the files that are kept, those of earlier versions too."""
    rows = InstanceRow.study_id == row.study_id
    row.instances = session.scalar(select(func.count()).where(rows, InstanceRow.current)) or 0
    kept = select(func.count(), func.sum(InstanceRow.size_bytes)).where(rows, InstanceRow.deleted_at.is_(None))
    files, size_bytes = session.execute(kept).one()
    row.keeps_images, row.image_bytes = files > 0, int(size_bytes or 0)


def _keeps(session: Session, study_id: int) -> tuple[bool, bool]:
    """Say whether there are files of the study's results, and pictures of them."""
    own = JobRow.study_id == study_id
    files = select(AnalysisFileRow.job_id).join(JobRow, JobRow.id == AnalysisFileRow.job_id)
    files = files.where(own, AnalysisFileRow.deleted_at.is_(None))
    written = select(ResultObjectRow.id).where(
        ResultObjectRow.study_id == study_id, ResultObjectRow.deleted_at.is_(None)
    )
    results = exists(files.where(AnalysisFileRow.kind == Holding.RESULTS.value))
    pictures = exists(files.where(AnalysisFileRow.kind == Holding.PICTURES.value))
    has_results, has_objects, has_pictures = session.execute(select(results, exists(written), pictures)).one()
    return bool(has_results or has_objects), bool(has_pictures)
