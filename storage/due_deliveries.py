"""Which deliveries are due, by destination: a few seeks in one index each, however many wait for whatever reason.

The index is (state, destination, rank, next_attempt_at, id). No query reads the rows of a destination that it is not
about, nor those that are not due: each asks for one rank, in which the rows stand in the order of their times.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BindParameter, ColumnElement, Integer, Select, bindparam, distinct, func, select
from sqlalchemy.orm import Session

from storage import leases
from storage.delivery_tables import DeliveryRow
from storage.domain import Priority
from storage.states import DeliveryState

RANKS = range(len(Priority) + 1)
"""The ranks of the priorities, and behind them that of what has none."""

_Destination = str | BindParameter[str]
_Moment = datetime | BindParameter[datetime]
_PENDING = DeliveryRow.state == DeliveryState.PENDING.value
_SENDING = DeliveryRow.state == DeliveryState.SENDING.value


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for one destination: how many are due (counted to a cap), the most urgent rank, and when more are.

    ``rank`` is None where nothing is due, ``next_at`` where nothing is due later.
    """

    destination: str
    due: int
    rank: int | None
    next_at: datetime | None


def destinations(session: Session, *, now: datetime) -> tuple[str, ...]:
    """Return the destinations that have pending deliveries, due or not, or whose sender's lease ran out."""
    names = select(func.min(DeliveryRow.destination).label("destination")).where(_PENDING).cte("names", recursive=True)
    following = select(func.min(DeliveryRow.destination)).where(_PENDING, DeliveryRow.destination > names.c.destination)
    # One seek for each destination: DISTINCT would read every pending row.
    names = names.union_all(select(following.scalar_subquery()).where(names.c.destination.is_not(None)))
    pending = session.scalars(select(names.c.destination).where(names.c.destination.is_not(None)))
    left = select(DeliveryRow.destination).where(_SENDING, leases.ran_out(DeliveryRow.lease_expires_at, now=now))
    return tuple(sorted({*pending, *session.scalars(left.distinct())}))


def waiting(session: Session, destination: str, *, cap: int, now: datetime) -> Waiting:
    """Return what waits for a destination, counted to ``cap`` in each rank."""
    values = {"destination": destination, "now": now, "cap": cap}
    found, *by_rank = session.execute(_counts_query(), values).one()
    times = session.execute(_times_query(), values).one()
    urgent = RANKS[0] if found else next((rank for rank, number in zip(RANKS, by_rank, strict=True) if number), None)
    next_at = min((moment for moment in times if moment is not None), default=None)
    return Waiting(destination, found + sum(by_rank), urgent, next_at)


def more_urgent(session: Session, destination: str, rank: int, *, now: datetime) -> bool:
    """Say whether something of a lower rank is due for a destination."""
    return any(
        session.scalar(select(DeliveryRow.id).where(*_due(destination, lower, now)).limit(1)) is not None
        for lower in RANKS[:rank]
    )


def open_batches(session: Session, destination: str, *, now: datetime) -> int:
    """Return how many batches are on their way to a destination, in whatever process; each has an owner of its own."""
    query = select(func.count(distinct(DeliveryRow.lease_owner))).where(
        _SENDING, DeliveryRow.destination == destination, DeliveryRow.lease_expires_at >= now
    )
    return session.scalar(query) or 0


def taken(session: Session, destination: str, *, limit: int, now: datetime) -> Sequence[int]:
    """Lock what is due for a destination and return its numbers, in the order in which it is to be sent.

    First what a sender left behind, then by rank, the oldest first of each. Rows that another gateway is taking are
    left out. They are locked without their studies, which a late image may hold: nothing is waited for meanwhile.
    """
    left = select(DeliveryRow.id).where(*_left_behind(destination, now)).order_by(DeliveryRow.rank, DeliveryRow.id)
    ids = [*_locked(session, left, limit)]
    for rank in RANKS:
        if len(ids) >= limit:
            break
        due = select(DeliveryRow.id).where(*_due(destination, rank, now))
        due = due.order_by(DeliveryRow.next_attempt_at, DeliveryRow.id)
        ids += _locked(session, due, limit - len(ids))
    return ids


def held_by(ids: Collection[int], owner: str) -> ColumnElement[bool]:
    """Return the condition «one of these, and its batch is still the owner's», for a query."""
    return DeliveryRow.id.in_(ids) & _SENDING & (DeliveryRow.lease_owner == owner)


# Every round asks both queries for each destination, and to build them takes longer than to run them.
@functools.cache
def _counts_query() -> Select[int, *tuple[int, ...]]:
    destination, now = _asked()
    counts = [_count(_due(destination, rank, now)) for rank in RANKS]
    return select(_count(_left_behind(destination, now)), *counts)


@functools.cache
def _times_query() -> Select[*tuple[datetime | None, ...]]:
    destination, now = _asked()
    first = select(func.min(DeliveryRow.next_attempt_at))
    return select(*(first.where(*_later(destination, rank, now)).scalar_subquery() for rank in RANKS))


def _asked() -> tuple[BindParameter[str], BindParameter[datetime]]:
    destination = bindparam("destination", type_=DeliveryRow.destination.type)
    return destination, bindparam("now", type_=DeliveryRow.next_attempt_at.type)


def _due(destination: _Destination, rank: int, now: _Moment) -> tuple[ColumnElement[bool], ...]:
    return (*_of(destination, rank), DeliveryRow.next_attempt_at <= now)


def _later(destination: _Destination, rank: int, now: _Moment) -> tuple[ColumnElement[bool], ...]:
    return (*_of(destination, rank), DeliveryRow.next_attempt_at > now)


def _of(destination: _Destination, rank: int) -> tuple[ColumnElement[bool], ...]:
    return _PENDING, DeliveryRow.destination == destination, DeliveryRow.rank == rank


def _left_behind(destination: _Destination, now: _Moment) -> tuple[ColumnElement[bool], ...]:
    return (
        _SENDING,
        DeliveryRow.destination == destination,
        leases.ran_out(DeliveryRow.lease_expires_at, now=now),
    )


def _count(conditions: tuple[ColumnElement[bool], ...]) -> ColumnElement[int]:
    some = select(DeliveryRow.id).where(*conditions).limit(bindparam("cap", type_=Integer)).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def _locked(session: Session, query: Select[int], limit: int) -> Sequence[int]:
    return session.scalars(query.limit(limit).with_for_update(skip_locked=True)).all()
