"""The outbox of announcements: what each channel is to be told of each study, and what became of it.

An announcement is one fact on its way to one channel. It is sent until the receiver has taken it or refused it, a later
result has come first, or a person has called it off; its key stays the same however often that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import changes, circuits, leases, study_locks
from storage.announcing import channels, opening, urgent_studies
from storage.announcing.claims import Claim, ClaimedAnnouncement
from storage.announcing.tables import AnnouncementRow, AnnouncementState
from storage.announcing.transitions import ACTOR, record, step
from storage.backoff import Backoff, Draw
from storage.circuits import Fault, Signal
from storage.domain import Priority
from storage.errors import IllegalTransition, RecordMissing

BACKOFF = Backoff(first_seconds=5.0, longest_seconds=5 * 60.0)
_LONGEST_ASKED_SECONDS = 3600.0
_ATTEMPTS_TOLD = 20
"""A receiver whose answers keep changing writes no more into the history than these."""
CALLED_OFF_BY_A_PERSON = "called_off"
CHANNEL_REMOVED = "channel_removed"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message was not taken: a coded reason, and words without patient data.

    Where it ``reached`` the receiver, or nobody knows, the receiver may have understood it all the same.
    ``retry_after`` is how many seconds the receiver asked to be left alone.
    """

    code: str
    reason: str
    reached: bool = True
    retry_after: float | None = None


def note_result(session: Session, study_id: int, *, actor: str, now: datetime) -> None:
    """Open what a study's results call for, and supersede what they have overtaken; to be called when they change.

    A channel that was told that a study is urgent is told once it is not; one that was told nothing is not.
    """
    opening.settle_study(session, study_id, actor=actor, now=now)


def sent(session: Session, claim: Claim, *, now: datetime, remark: str | None = None) -> None:
    """Record that the receiver took a message; ``remark`` is what it said besides."""

    def end(row: AnnouncementRow, _: ClaimedAnnouncement) -> None:
        step(row, AnnouncementState.SENT)
        row.code, row.reason, row.announced_at = None, remark, now
        if row.priority is not None:
            priority = Priority(row.priority)
            urgent_studies.announced(session, row.study_id, channel=row.channel, priority=priority, now=now)
        record(session, row, "sent", now=now, details={"attempt": row.attempts})

    _settle(session, claim, end, now=now)
    circuits.served(session, channels.circuit_of(claim.channel.name), now=now)


def refused(session: Session, claim: Claim, failure: Failure, *, now: datetime) -> None:
    """Record that the receiver will not take a message however often it is sent; a person must look.

    Of several announcements one may be at fault: each is sent alone then, and judged by itself.
    """
    is_group = len(claim.announcements) > 1

    def end(row: AnnouncementRow, before: ClaimedAnnouncement) -> None:
        row.reached = before.was_reached
        if is_group:
            step(row, AnnouncementState.PENDING)
            row.group_key, row.next_attempt_at = row.key, now
            return
        step(row, AnnouncementState.REFUSED)
        row.code, row.reason = failure.code, failure.reason
        record(session, row, "refused", now=now, details={"code": failure.code, "attempt": row.attempts})

    _settle(session, claim, end, now=now)
    circuits.served(session, channels.circuit_of(claim.channel.name), now=now)


def failed(session: Session, claim: Claim, failure: Failure, *, draw: Draw, now: datetime) -> None:
    """Record that a message did not get through, which a later one may; nothing is given up.

    A channel that could not be reached is left alone by its circuit, and what waits for it has no pause of its own.
    Only the first failure of its kind is an event, and only of the first twenty attempts.
    """

    def end(row: AnnouncementRow, before: ClaimedAnnouncement) -> None:
        step(row, AnnouncementState.PENDING)
        row.reached = before.was_reached or failure.reached
        if not row.reached:
            row.group_key = None  # the receiver knows nothing of the group: more may join it
        row.next_attempt_at = _next_attempt(row, failure, draw=draw, now=now)
        is_new = row.code != failure.code and row.attempts <= _ATTEMPTS_TOLD
        row.code, row.reason = failure.code, failure.reason
        if is_new:
            record(session, row, "failed", now=now, details={"code": failure.code, "attempt": row.attempts})

    _settle(session, claim, end, now=now)
    signal = Signal.UNSERVED if failure.reached else Signal.UNREACHABLE
    fault = Fault(failure.code, failure.reason)
    circuits.failed(session, channels.circuit_of(claim.channel.name), signal, fault, draw=draw, now=now)


def retry(session: Session, announcement_id: int, *, actor: str, now: datetime) -> None:
    """Send an announcement once more that was sent, refused or called off; one that waits is due at once.

    IllegalTransition where it is being sent, or what it tells is not so any more.
    """
    row = _taken(session, announcement_id)
    if row.state != AnnouncementState.PENDING.value:
        if row.state == AnnouncementState.SENDING.value:
            raise IllegalTransition(f"announcement {row.id} is being sent at this moment")
        if not opening.holds(session, row):
            raise IllegalTransition(
                f"announcement {row.id} tells of a result that does not hold any more, or its channel is gone; "
                "what holds now is announced by itself"
            )
        step(row, AnnouncementState.PENDING)
        row.attempts, row.group_key, row.code, row.reason = 0, None, None, None
    row.next_attempt_at = now
    circuits.release(session, channels.circuit_of(row.channel), actor=actor, now=now)
    changes.announce(session)
    record(session, row, "retried", actor=actor, now=now)


def call_off(session: Session, announcement_id: int, *, actor: str, now: datetime) -> None:
    """End an announcement that waits or was refused; IllegalTransition where it is neither."""
    row = _taken(session, announcement_id)
    step(row, AnnouncementState.CALLED_OFF)
    row.code = CALLED_OFF_BY_A_PERSON
    record(session, row, "called-off", actor=actor, now=now, details={"code": row.code})


def call_off_channel(session: Session, name: str, *, actor: str, now: datetime, limit: int = 200) -> int:
    """Call off what waits for a channel or was refused by it, ``limit`` at most, and return how many.

    To be repeated, each time in a transaction of its own, until it returns 0.
    """
    ended = (AnnouncementState.PENDING.value, AnnouncementState.REFUSED.value)
    waits = (AnnouncementRow.channel == name, AnnouncementRow.state.in_(ended))
    first = session.scalars(select(AnnouncementRow.id).where(*waits).order_by(AnnouncementRow.id).limit(limit)).all()
    study_locks.take_all(session, select(AnnouncementRow.study_id).where(AnnouncementRow.id.in_(first)))
    query = select(AnnouncementRow).where(AnnouncementRow.id.in_(first), waits[1]).order_by(AnnouncementRow.id)
    rows = session.scalars(query.with_for_update().execution_options(populate_existing=True)).all()
    for row in rows:
        step(row, AnnouncementState.CALLED_OFF)
        row.code = CHANNEL_REMOVED
        record(session, row, "called-off", actor=actor, now=now, details={"code": row.code})
    return len(rows)


def _next_attempt(row: AnnouncementRow, failure: Failure, *, draw: Draw, now: datetime) -> datetime:
    pause = BACKOFF.pause(row.attempts, draw=draw) if failure.reached else timedelta(0)
    return now + max(pause, timedelta(seconds=min(failure.retry_after or 0.0, _LONGEST_ASKED_SECONDS)))


def _settle(
    session: Session, claim: Claim, end: Callable[[AnnouncementRow, ClaimedAnnouncement], None], *, now: datetime
) -> None:
    """Let go of what a claim holds, and look at each study anew: results may have come while it was being told of.

    What somebody else took over, since the lease had run out, is theirs to settle.
    """
    before = {one.id: one for one in claim.announcements}
    own = select(AnnouncementRow.study_id).where(AnnouncementRow.id.in_(before))
    studies = study_locks.take_all(session, own)
    for row in _held(session, claim):
        leases.end(row)
        end(row, before[row.id])
    session.flush()
    for study_id in studies:
        opening.settle_study(session, study_id, actor=ACTOR, now=now, only=(claim.channel.name,))
    changes.announce(session)


def _held(session: Session, claim: Claim) -> Sequence[AnnouncementRow]:
    query = select(AnnouncementRow).where(
        AnnouncementRow.id.in_([one.id for one in claim.announcements]),
        AnnouncementRow.state == AnnouncementState.SENDING.value,
        AnnouncementRow.lease_owner == claim.owner,
    )
    query = query.order_by(AnnouncementRow.id).with_for_update().execution_options(populate_existing=True)
    return session.scalars(query).all()


def _taken(session: Session, announcement_id: int) -> AnnouncementRow:
    study_id = session.scalar(select(AnnouncementRow.study_id).where(AnnouncementRow.id == announcement_id))
    if study_id is None:
        raise RecordMissing(f"there is no announcement {announcement_id}; see `oncue announcements list`")
    study_locks.take(session, study_id)
    return session.get_one(AnnouncementRow, announcement_id, with_for_update=True, populate_existing=True)
