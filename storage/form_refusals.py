"""What follows when a destination does not take a form that was chosen for it: the forms are chosen anew."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import destinations, negotiations, reports, study_locks
from storage.delivery_lists import Delivery
from storage.domain import DeliveryState
from storage.models import DeliveryRow, JobRow, ResultObjectRow

_CODE = "form_not_taken"
_MOST_AT_ONCE = 200


def replan_refused_forms(
    session: Session, destination: str, refused: Sequence[Delivery], *, now: datetime
) -> tuple[int, ...]:
    """Record that a destination did not take the SOP classes of some deliveries, and have their reports reopened.

    Returns the jobs whose reports are. A destination of the settings gets SEG and SR and nothing instead: none is then.
    """
    if not destinations.hold(session, [destination]):
        return ()
    negotiations.refused(session, destination, {item.written.sop_class_uid for item in refused}, now=now)
    jobs = {item.job_id for item in refused if item.job_id is not None}
    return _reopened(session, jobs, destination, now=now)


def replan_untaken_forms(session: Session, destination: str, *, now: datetime) -> tuple[int, ...]:
    """Reopen the reports of which something waits for a destination that has since said that it does not take it.

    Some hundred at a time; returns their jobs.
    """
    taken = negotiations.find(session, destination).taken
    untaken = [uid for uid, syntaxes in taken.items() if not syntaxes]
    query = (
        select(ResultObjectRow.job_id)
        .join(DeliveryRow, DeliveryRow.object_id == ResultObjectRow.id)
        .where(
            DeliveryRow.destination == destination,
            DeliveryRow.state == DeliveryState.PENDING.value,
            ResultObjectRow.sop_class_uid.in_(untaken),
            ResultObjectRow.job_id.is_not(None),
        )
    )
    found = session.scalars(query.distinct().order_by(ResultObjectRow.job_id).limit(_MOST_AT_ONCE))
    return _reopened(session, {job_id for job_id in found if job_id is not None}, destination, now=now)


def _reopened(session: Session, jobs: Collection[int], destination: str, *, now: datetime) -> tuple[int, ...]:
    study_locks.take_all(session, select(JobRow.study_id).where(JobRow.id.in_(jobs)))
    return tuple(
        job_id
        for job_id in sorted(jobs)
        if reports.reopened(session, job_id, destination=destination, code=_CODE, now=now)
    )
