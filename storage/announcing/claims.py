"""Announcements that a gateway takes under a lease to send them: one message of a channel at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import circuits, leases, processes, study_locks
from storage.announcing import channels, groups, opening
from storage.announcing.channels import ChannelEntry
from storage.announcing.tables import AnnouncementLevel, AnnouncementRow, AnnouncementState, UrgentStudyRow
from storage.announcing.transitions import ACTOR, record, step
from storage.circuits import CircuitState
from storage.domain import Priority
from storage.models import StudyRow

STUDY_OPENED = "study_opened"


@dataclass(frozen=True, slots=True)
class ClaimedAnnouncement:
    """One announcement that is to be sent. ``was_reached`` says that the receiver may have got it before."""

    id: int
    key: str
    study_id: int
    study_instance_uid: str
    patient_key: str | None
    revision: int
    job_id: int | None
    level: AnnouncementLevel
    priority: Priority | None
    previous: Priority | None
    opened_at: datetime
    attempts: int
    was_reached: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """What leaves in one message, under a lease of ``owner``; ``group_key`` is the same when it is sent again."""

    channel: ChannelEntry
    owner: str
    group_key: str
    announcements: tuple[ClaimedAnnouncement, ...]


@dataclass(frozen=True, slots=True)
class WaitingChannel:
    """A channel that something waits for, and when it may be sent the next of it."""

    name: str
    due_at: datetime


def waiting(session: Session, *, now: datetime) -> tuple[WaitingChannel, ...]:
    """Return the channels that something waits for, those that are due first; paused ones wait for a person."""
    shut = circuits.shut_off(session, now=now)
    found = []
    for entry in channels.entries(session):
        due = None if entry.paused else groups.due_at(session, entry.name, now=now)
        if due is not None:
            opens = shut.get(channels.circuit_of(entry.name), now)
            found.append(WaitingChannel(entry.name, max(due, opens, groups.free_at(session, entry, now=now))))
    return tuple(sorted(found, key=lambda one: one.due_at))


def claim(session: Session, name: str, *, owner: str, lease_seconds: float, now: datetime) -> Claim | None:
    """Take what is to leave in a channel's next message, None where there is nothing to be sent now.

    Nothing is taken while another message to it is on its way, beyond its limit of messages, or where its circuit lets
    nothing through. An escalation whose study was opened meanwhile is called off.
    """
    entry = channels.taken(session, name)
    if entry is None or entry.paused or _is_busy(session, name) or groups.free_at(session, entry, now=now) > now:
        return None
    rows: Sequence[AnnouncementRow] = ()
    while not rows:
        found = groups.next_group(session, entry, now=now)
        if not found:
            return None
        rows = [row for row in found if not _is_needless(session, row, now=now)]
    if circuits.admit(session, channels.circuit_of(name), trial_seconds=lease_seconds, now=now) is CircuitState.OPEN:
        return None
    key = groups.group_key(rows)
    claimed = tuple(_claimed(session, row) for row in rows)
    for row in rows:
        step(row, AnnouncementState.SENDING)
        row.attempts += 1
        row.group_key, row.reached = key, True
        leases.take(row, owner, seconds=lease_seconds, now=now)
    session.flush()
    return Claim(entry, owner, key, claimed)


def renew(session: Session, owners: Collection[str], *, lease_seconds: float, now: datetime) -> None:
    """Push the leases out of what some owners are sending: they are alive, however slow the receivers are."""
    query = select(AnnouncementRow).where(
        AnnouncementRow.state == AnnouncementState.SENDING.value, AnnouncementRow.lease_owner.in_(owners)
    )
    for row in session.scalars(query.with_for_update(skip_locked=True)):
        leases.extend(row, seconds=lease_seconds, now=now)


def has_lost(session: Session, *, now: datetime) -> bool:
    """Say whether anything is under way whose sender is gone, or silent for too long."""
    return bool(_lost(session, now=now))


def release_lost(session: Session, *, now: datetime) -> int:
    """Have what a dead sender had under way sent again, by the same key; return how many announcements that are.

    Nobody knows whether the receiver got them: what came meanwhile is told to it in any case.
    """
    lost = _lost(session, now=now)
    if not lost:
        return 0
    studies = study_locks.take_all(session, select(AnnouncementRow.study_id).where(AnnouncementRow.id.in_(lost)))
    query = select(AnnouncementRow).where(
        AnnouncementRow.id.in_(lost), AnnouncementRow.state == AnnouncementState.SENDING.value
    )
    rows = session.scalars(query.with_for_update().execution_options(populate_existing=True)).all()
    for row in rows:
        step(row, AnnouncementState.PENDING)
        leases.end(row)
    session.flush()
    concerned = {row.channel for row in rows}
    for study_id in studies:
        opening.settle_study(session, study_id, actor=ACTOR, now=now, only=concerned)
    return len(rows)


def _lost(session: Session, *, now: datetime) -> list[int]:
    sending = select(AnnouncementRow.id, AnnouncementRow.lease_owner, AnnouncementRow.lease_expires_at).where(
        AnnouncementRow.state == AnnouncementState.SENDING.value
    )
    held = session.execute(sending).all()
    gone = processes.lost(session, {_process_of(row.lease_owner or "") for row in held}, now=now) if held else ()
    return [
        row.id
        for row in held
        if row.lease_expires_at is None or row.lease_expires_at < now or _process_of(row.lease_owner or "") in gone
    ]


def _process_of(owner: str) -> str:
    """Return the process of a claim's owner, which is the process with the number of the claim behind it."""
    return owner.rpartition("/")[0]


def _is_busy(session: Session, name: str) -> bool:
    sending = AnnouncementRow.state == AnnouncementState.SENDING.value
    return (
        session.scalar(select(AnnouncementRow.id).where(sending, AnnouncementRow.channel == name).limit(1)) is not None
    )


def _is_needless(session: Session, row: AnnouncementRow, *, now: datetime) -> bool:
    """Call an escalation off that nobody needs any more, and say whether it was one."""
    if row.level != AnnouncementLevel.ESCALATION.value or row.reached or not _was_opened(session, row):
        return False
    step(row, AnnouncementState.CALLED_OFF)
    row.code = STUDY_OPENED
    session.flush()
    record(session, row, "called-off", now=now, details={"code": row.code})
    return True


def _was_opened(session: Session, row: AnnouncementRow) -> bool:
    urgent = (
        select(UrgentStudyRow.opened_at)
        .where(UrgentStudyRow.study_id == row.study_id, UrgentStudyRow.ended_at.is_(None))
        .order_by(UrgentStudyRow.id.desc())
    )
    return session.scalar(urgent.limit(1)) is not None


def _claimed(session: Session, row: AnnouncementRow) -> ClaimedAnnouncement:
    uid = session.scalars(select(StudyRow.study_instance_uid).where(StudyRow.id == row.study_id)).one()
    return ClaimedAnnouncement(
        id=row.id,
        key=row.key,
        study_id=row.study_id,
        study_instance_uid=uid,
        patient_key=row.patient_key,
        revision=row.revision,
        job_id=row.job_id,
        level=AnnouncementLevel(row.level),
        priority=Priority(row.priority) if row.priority else None,
        previous=Priority(row.previous) if row.previous else None,
        opened_at=row.opened_at,
        attempts=row.attempts,
        was_reached=row.reached,
    )
