"""Whom we turned away: one row for each calling title, called title and address, so that a stranger can be let in.

Rows are few whatever the network sends: so many of one address, so many in all, and the longest silent one goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from storage import audit, new_rows
from storage.errors import RecordMissing
from storage.peer_tables import RefusedPeerRow

MOST = 500
MOST_OF_AN_ADDRESS = 20
RECORDED_EVERY = timedelta(days=1)
"""A caller that is turned away again and again for the same reason gets an event so often."""


@dataclass(frozen=True, slots=True, order=True)
class Attempts:
    """How often one caller was turned away since this was last put on record, and why the last time."""

    calling_aet: str
    called_aet: str
    address: str
    code: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class RefusedPeer:
    """A caller that was turned away, with the number that `oncue peers allow` takes."""

    number: int
    calling_aet: str
    called_aet: str
    address: str
    code: str
    count: int
    first_at: datetime
    last_at: datetime


def note(session: Session, attempts: Sequence[Attempts], *, events: int, now: datetime) -> tuple[Attempts, ...]:
    """Add attempts to what is on record, and return those that are news, with an event for each.

    News is a caller that was not on record, another reason, or the same after RECORDED_EVERY. There are at most
    ``events`` events; what goes beyond that is counted and comes back as news, without one.
    """
    # In one order, so that two gateways do not wait for each other.
    news = tuple(each for each in sorted(attempts) if _count(session, each, now=now))
    for each in news[:events]:
        who = each.calling_aet or each.address  # a connection that was closed unread has no title
        audit.record(
            session,
            "association:refused",
            f"peer/{who}",
            actor=who,
            now=now,
            details={"called": each.called_aet, "address": each.address, "code": each.code, "attempts": each.count},
        )
    for address in {each.address for each in attempts}:
        _keep_newest(session, MOST_OF_AN_ADDRESS, address)
    _keep_newest(session, MOST, None)
    return news


def note_beyond(session: Session, callers: int, *, now: datetime) -> None:
    """Write one event for callers that were turned away beyond the number of events that an hour may have."""
    audit.record(
        session,
        "association:refused",
        "peers",
        actor="gateway",
        now=now,
        details={"code": "too_many_refusals", "callers": callers},
    )


def listed(session: Session, *, limit: int = MOST, since: datetime | None = None) -> tuple[RefusedPeer, ...]:
    """Return whom we turned away, the latest first; with ``since`` those alone that came at that time or later."""
    query = select(RefusedPeerRow).order_by(RefusedPeerRow.last_at.desc(), RefusedPeerRow.id.desc()).limit(limit)
    if since is not None:
        query = query.where(RefusedPeerRow.last_at >= since)
    return tuple(map(_refused, session.scalars(query)))


def of_title(session: Session, calling_aet: str) -> tuple[RefusedPeer, ...]:
    """Return those turned away that called themselves so, the latest first."""
    query = select(RefusedPeerRow).where(RefusedPeerRow.calling_aet == calling_aet)
    return tuple(map(_refused, session.scalars(query.order_by(RefusedPeerRow.last_at.desc()))))


def find(session: Session, number: int) -> RefusedPeer:
    """Return one of those turned away; RecordMissing where there is none of this number."""
    row = session.get(RefusedPeerRow, number)
    if row is None:
        raise RecordMissing(f"nobody who was turned away has number {number}; see `oncue peers list --refused`")
    return _refused(row)


def forget(session: Session, calling_aet: str) -> None:
    """Take a title off the list, because somebody decided about it; what it did stays in the audit trail."""
    session.execute(delete(RefusedPeerRow).where(RefusedPeerRow.calling_aet == calling_aet))


def _count(session: Session, each: Attempts, *, now: datetime) -> bool:
    """Count attempts in their row, and say whether they are news."""
    key = {"calling_aet": each.calling_aet, "called_aet": each.called_aet, "address": each.address}
    first = {"code": each.code, "count": each.count, "first_at": each.first_at, "last_at": each.last_at}
    if new_rows.add_if_new(session, RefusedPeerRow, {**key, **first, "recorded_at": now}):
        return True
    row = session.scalars(select(RefusedPeerRow).filter_by(**key).with_for_update()).one_or_none()
    if row is None:  # another gateway has just taken it off to make room
        return False
    is_news = row.code != each.code or now - row.recorded_at >= RECORDED_EVERY
    session.execute(
        update(RefusedPeerRow)
        .where(RefusedPeerRow.id == row.id)
        .values(
            code=each.code,
            count=RefusedPeerRow.count + each.count,
            last_at=each.last_at,
            recorded_at=now if is_news else row.recorded_at,
        )
    )
    return is_news


def _keep_newest(session: Session, most: int, address: str | None) -> None:
    """Delete the longest silent rows above a number, of one address or of all."""
    mine = [] if address is None else [RefusedPeerRow.address == address]
    count = session.scalar(select(func.count()).select_from(RefusedPeerRow).where(*mine)) or 0
    if count > most:
        oldest = select(RefusedPeerRow.id).where(*mine).order_by(RefusedPeerRow.last_at, RefusedPeerRow.id)
        session.execute(delete(RefusedPeerRow).where(RefusedPeerRow.id.in_(oldest.limit(count - most))))


def _refused(row: RefusedPeerRow) -> RefusedPeer:
    return RefusedPeer(
        number=row.id,
        calling_aet=row.calling_aet,
        called_aet=row.called_aet,
        address=row.address,
        code=row.code,
        count=row.count,
        first_at=row.first_at,
        last_at=row.last_at,
    )
