"""Open associations: a study is not complete while somebody is still sending it."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, func, select
from sqlalchemy.orm import Session

from storage import audit, new_rows
from storage.arrival_tables import AssociationRow, AssociationStudyRow
from storage.models import ProcessRow, StudyRow
from storage.processes import STALE_AFTER

HOLD = timedelta(seconds=60)
"""An association that sent no image of a study for so long does not hold it open: peers keep associations for the next
study, and routers send one study after another over the same one."""

_MARK_EVERY = timedelta(seconds=1)


def opened(
    session: Session,
    *,
    process_id: str,
    calling_aet: str,
    called_aet: str,
    remote_address: str,
    now: datetime,
    association_id: str | None = None,
) -> str:
    """Record that a peer opened an association, and return our id for it: a UUID, made here unless it is given.

    The gateway does so at the first request that is no C-ECHO, or at the end where there was none.
    """
    association_id = association_id or str(uuid.uuid4())
    session.add(
        AssociationRow(
            id=association_id,
            process_id=process_id,
            calling_aet=calling_aet,
            called_aet=called_aet,
            remote_address=remote_address,
            opened_at=now,
            last_store_at=None,
            closed_at=None,
        )
    )
    audit.record(
        session,
        "association:opened",
        f"association/{association_id}",
        actor=calling_aet,
        now=now,
        details={"called": called_aet, "address": remote_address},
    )
    return association_id


def closed(session: Session, association_id: str, *, how: str, now: datetime) -> None:
    """Record that an association ended. A second time changes nothing.

    ``how`` is ``released``, ``aborted``, ``lost`` (the connection or the gateway was gone) or ``displaced`` (it was
    idle and gave way to another one).
    """
    row = session.get(AssociationRow, association_id, with_for_update={"key_share": True}, populate_existing=True)
    if row is None or row.closed_at is not None:
        return
    row.closed_at = now
    audit.record(
        session,
        "association:closed",
        f"association/{association_id}",
        actor=row.calling_aet,
        now=now,
        details={"how": how},
    )


def echoed(session: Session, *, count: int, peers: int, since: datetime, now: datetime) -> None:
    """Record how many associations, of how many calling AE titles, carried nothing but C-ECHO since a moment."""
    audit.record(
        session,
        "association:echoed",
        "associations",
        actor="gateway",
        now=now,
        details={"associations": count, "peers": peers, "since": since.isoformat(timespec="seconds")},
    )


def close_lost(session: Session, *, now: datetime) -> int:
    """Close associations whose gateway is gone, and return how many there were."""
    dead = select(ProcessRow.id).where((ProcessRow.seen_at < now - STALE_AFTER) | ProcessRow.stopped_at.is_not(None))
    query = select(AssociationRow.id).where(AssociationRow.closed_at.is_(None), AssociationRow.process_id.in_(dead))
    # One that somebody has is being closed by another gateway.
    rows = session.scalars(query.with_for_update(key_share=True, skip_locked=True)).all()
    for association_id in rows:
        closed(session, association_id, how="lost", now=now)
    return len(rows)


def sends(session: Session, association_id: str, study_id: int, *, now: datetime) -> None:
    """Note that an association sent an image of a study just now; no event, the image has its own."""
    row = session.get(AssociationRow, association_id)
    if row is None:
        return
    if row.last_store_at is None or now - row.last_store_at >= _MARK_EVERY:
        row.last_store_at = now
    sent = session.get(AssociationStudyRow, (association_id, study_id))
    if sent is None:
        values = {"association_id": association_id, "study_id": study_id, "last_store_at": now}
        new_rows.add_if_new(session, AssociationStudyRow, values)
    elif sent.last_store_at is None or now - sent.last_store_at >= _MARK_EVERY:
        sent.last_store_at = now


def still_sending(now: datetime) -> ColumnElement[bool]:
    """Return the condition «an association is at work on this study», for a query on studies.

    At work is one that is open, of a living gateway, and that sent an image of this very study within HOLD.
    """
    return exists().where(
        and_(
            AssociationStudyRow.study_id == StudyRow.id,
            AssociationStudyRow.association_id == AssociationRow.id,
            AssociationRow.closed_at.is_(None),
            func.coalesce(AssociationStudyRow.last_store_at, AssociationRow.last_store_at) >= now - HOLD,
            AssociationRow.process_id == ProcessRow.id,
            ProcessRow.stopped_at.is_(None),
            ProcessRow.seen_at >= now - STALE_AFTER,
        )
    )


def is_let_in_since(session: Session, calling_aet: str, moment: datetime) -> bool:
    """Say whether a caller of this title opened an association after a moment."""
    query = select(AssociationRow.id).where(
        AssociationRow.calling_aet == calling_aet, AssociationRow.opened_at > moment
    )
    return session.scalar(query.limit(1)) is not None
