"""Studies that a gateway takes under a lease to fetch them: one of a source at a time."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import leases, processes
from storage.backoff import Draw
from storage.errors import LeaseLost
from storage.fetching.sources import FetchSource
from storage.fetching.studies import FetchedStudy, locked, study_of, try_again
from storage.fetching.tables import FetchedStudyRow
from storage.fetching.transitions import step
from storage.states import FetchState


def claim(
    session: Session, source: FetchSource, *, owner: str, lease_seconds: float, now: datetime
) -> FetchedStudy | None:
    """Take the next study of a source to fetch it; None where nothing is due, or what is allowed is used up.

    One at a time is fetched from a source.
    """
    if source.paused or free_at(session, source, now=now) > now or _is_busy(session, source.name, now=now):
        return None
    query = (
        select(FetchedStudyRow)
        .where(
            FetchedStudyRow.source == source.name,
            FetchedStudyRow.state == FetchState.DUE.value,
            FetchedStudyRow.next_attempt_at <= now,
        )
        .order_by(FetchedStudyRow.is_prior, FetchedStudyRow.next_attempt_at, FetchedStudyRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        return None
    row.attempts += 1
    leases.take(row, owner, seconds=lease_seconds, now=now)
    step(session, row, FetchState.FETCHING, now=now, details={"attempt": row.attempts})
    session.flush()
    return study_of(row)


def has_due(session: Session, source: str, *, now: datetime) -> bool:
    """Say whether a study of a source is to be fetched now."""
    query = select(FetchedStudyRow.id).where(
        FetchedStudyRow.source == source,
        FetchedStudyRow.state == FetchState.DUE.value,
        FetchedStudyRow.next_attempt_at <= now,
    )
    return session.scalar(query.limit(1)) is not None


def free_at(session: Session, source: FetchSource, *, now: datetime) -> datetime:
    """Return when a source may be asked for images again, by its hours and by how many studies came from it."""
    opens = now if source.hours is None else source.hours.opens_at(now)
    if source.studies_per_hour is None:
        return opens
    hour = timedelta(hours=1)
    query = (
        select(FetchedStudyRow.fetched_at)
        .where(FetchedStudyRow.source == source.name, FetchedStudyRow.fetched_at > now - hour)
        .order_by(FetchedStudyRow.fetched_at.desc())
        .offset(source.studies_per_hour - 1)
        .limit(1)
    )
    last = session.scalar(query)
    return opens if last is None else max(opens, last + hour)


def renew(session: Session, study_id: int, owner: str, *, lease_seconds: float, now: datetime) -> None:
    """Push the lease of a study out; LeaseLost where somebody else has it."""
    leases.extend(_held(session, study_id, owner), seconds=lease_seconds, now=now)


def came(session: Session, study_id: int, owner: str, *, here: int, now: datetime) -> None:
    """Conclude that a study is here in full: ``here`` instances; LeaseLost."""
    row = _held(session, study_id, owner)
    leases.end(row)
    row.fetched_instances, row.fetched_at, row.code, row.reason = row.instances, now, None, None
    step(session, row, FetchState.FETCHED, now=now, details={"here": here})


def failed(session: Session, study_id: int, owner: str, code: str, reason: str, *, draw: Draw, now: datetime) -> None:
    """Note that a study did not come, or not in full: it is tried again later, and given up after some tries."""
    row = _held(session, study_id, owner)
    leases.end(row)
    try_again(session, row, code, reason, draw=draw, now=now)


def is_under_way(session: Session) -> bool:
    """Say whether any study is being fetched."""
    query = select(FetchedStudyRow.id).where(FetchedStudyRow.state == FetchState.FETCHING.value)
    return session.scalar(query.limit(1)) is not None


def release_lost(session: Session, *, now: datetime) -> int:
    """Have what a dead gateway was fetching fetched again; return how many studies that are."""
    query = select(FetchedStudyRow).where(FetchedStudyRow.state == FetchState.FETCHING.value)
    held = session.scalars(query.with_for_update(skip_locked=True)).all()
    gone = processes.lost(session, {row.lease_owner or "" for row in held}, now=now) if held else frozenset()
    lost = [
        row
        for row in held
        if row.lease_expires_at is None or row.lease_expires_at < now or (row.lease_owner or "") in gone
    ]
    for row in lost:
        leases.end(row)
        row.next_attempt_at = now
        step(session, row, FetchState.DUE, now=now, details={"code": "fetcher_lost"})
    return len(lost)


def _is_busy(session: Session, source: str, *, now: datetime) -> bool:
    query = select(FetchedStudyRow.id).where(
        FetchedStudyRow.source == source,
        FetchedStudyRow.state == FetchState.FETCHING.value,
        FetchedStudyRow.lease_expires_at >= now,
    )
    return session.scalar(query.limit(1)) is not None


def _held(session: Session, study_id: int, owner: str) -> FetchedStudyRow:
    row = locked(session, study_id)
    if row is None or row.state != FetchState.FETCHING.value or row.lease_owner != owner:
        raise LeaseLost("the study is not being fetched by this gateway any more")
    return row
