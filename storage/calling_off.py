"""Deliveries that are called off before they begin: something else took their place, or nobody is to get them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from storage import audit, deliveries, study_locks
from storage.delivery_tables import DeliveryRow
from storage.domain import ObjectKind
from storage.result_tables import ResultObjectRow
from storage.states import DeliveryState


def call_off(session: Session, job_id: int, *, now: datetime) -> None:
    """Call off the deliveries of a job's objects that have not begun: a later result took its place.

    The caller has taken the study. Whether one has begun is known once its row is held: a gateway may be taking it.
    """
    _supersede(session, select(ResultObjectRow.id).where(ResultObjectRow.job_id == job_id), now=now)


def call_off_notice(session: Session, notice_id: int, *, now: datetime) -> None:
    """Call off the deliveries of a notice that have not begun: what it says is not so any more.

    The caller has taken the study.
    """
    _supersede(session, select(ResultObjectRow.id).where(ResultObjectRow.notice_id == notice_id), now=now)


def _supersede(session: Session, written: Select[int], *, now: datetime) -> None:
    query = (
        select(DeliveryRow)
        .where(DeliveryRow.object_id.in_(written), DeliveryRow.state == DeliveryState.PENDING.value)
        .order_by(DeliveryRow.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    rows = session.scalars(query).all()
    if not rows:
        return
    # The objects of one job or notice are of one study.
    study = audit.study_of(session, session.get_one(ResultObjectRow, rows[0].object_id).study_id)
    for row in rows:
        deliveries.step(row, DeliveryState.SUPERSEDED)
        deliveries.record(session, row, study, "delivery:superseded", now=now)


def call_off_destination(
    session: Session, destination: str, *, actor: str, now: datetime, refused: bool = False, limit: int = 200
) -> int:
    """Call off the deliveries to a destination that have not begun, ``limit`` at most, and return how many.

    With ``refused`` those that it did not take instead: nobody can have them sent again once it is removed. To be
    repeated, each time in a transaction of its own, until it returns 0: thousands in one would keep every other writer
    waiting.
    """
    state = DeliveryState.REFUSED if refused else DeliveryState.PENDING
    waits = (DeliveryRow.destination == destination, DeliveryRow.state == state.value)
    first = tuple(session.scalars(select(DeliveryRow.id).where(*waits).order_by(DeliveryRow.id).limit(limit)))
    studies = (
        select(ResultObjectRow.study_id)
        .join(DeliveryRow, DeliveryRow.object_id == ResultObjectRow.id)
        .where(DeliveryRow.id.in_(first))
    )
    study_locks.take_all(session, studies)
    rows = _locked_rows(session, DeliveryRow.id.in_(first), waits[1])
    for row in rows:
        _call_off(session, row, actor=actor, now=now, code="destination_removed")
    return len(rows)


def call_off_forms(
    session: Session, job_id: int, destination: str, kinds: Collection[ObjectKind], *, now: datetime
) -> int:
    """Call off the deliveries of a job's forms to a destination that wait or were refused: it gets others instead.

    Returns how many. The caller has taken the study.
    """
    written = select(ResultObjectRow.id).where(ResultObjectRow.job_id == job_id, ResultObjectRow.kind.in_(kinds))
    ended = (DeliveryState.PENDING.value, DeliveryState.REFUSED.value)
    rows = _locked_rows(
        session,
        DeliveryRow.object_id.in_(written),
        DeliveryRow.destination == destination,
        DeliveryRow.state.in_(ended),
    )
    for row in rows:
        _call_off(session, row, actor="delivery", now=now, code="form_not_taken")
    return len(rows)


def _locked_rows(session: Session, *conditions: ColumnElement[bool]) -> Sequence[DeliveryRow]:
    query = select(DeliveryRow).where(*conditions).order_by(DeliveryRow.id).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).all()


def _call_off(session: Session, row: DeliveryRow, *, actor: str, now: datetime, code: str) -> None:
    deliveries.step(row, DeliveryState.CALLED_OFF)
    row.code = code
    item = session.get_one(ResultObjectRow, row.object_id)
    deliveries.record(session, row, audit.study_of(session, item.study_id), "delivery:called-off", now=now, actor=actor)
