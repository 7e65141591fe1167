"""What follows when a destination does not take a form that was chosen for it: the forms are chosen anew."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import deliveries, destinations, negotiations, reports, study_locks
from storage.delivery_lists import Delivery
from storage.delivery_tables import DeliveryRow
from storage.models import JobRow
from storage.result_tables import ResultObjectRow
from storage.states import DeliveryState

_CODE = "form_not_taken"
_MOST_AT_ONCE = 200


def refused_form(
    session: Session, delivery: Delivery, *, owner: str, status: int | None, code: str, reason: str, now: datetime
) -> bool:
    """Record that a destination did not take an object over its SOP class, and have its report reopened.

    Both in one transaction: a gateway that dies must not leave the refusal without what stands in. Returns whether the
    report is reopened. A destination of the settings gets SEG and SR and nothing instead: it is not then.
    """
    is_entry = bool(destinations.hold(session, [delivery.destination]))
    if is_entry:
        negotiations.refused(session, delivery.destination, {delivery.written.sop_class_uid}, now=now)
    deliveries.refused(session, delivery.id, owner=owner, status=status, code=code, reason=reason, now=now)
    if not is_entry or delivery.job_id is None:
        return False
    return bool(_reopened(session, [delivery.job_id], delivery.destination, now=now))


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
