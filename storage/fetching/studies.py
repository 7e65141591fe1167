"""Studies on their way from sources: noted, waited for until they grow no more, and listed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.backoff import Backoff, Draw
from storage.errors import RecordMissing
from storage.fetching.tables import FetchedStudyRow
from storage.fetching.transitions import ACTOR, step, tell
from storage.models import InstanceRow, StudyRow
from storage.new_rows import add_if_new
from storage.result_tables import ResultObjectRow
from storage.states import FetchState

MOST_ATTEMPTS = 6
_AGAIN = Backoff(first_seconds=5.0, longest_seconds=1800.0)
_AT_ONCE = 500
"""Most studies that one statement asks about: databases take only so many variables in one."""


Counts: TypeAlias = Mapping[tuple[str, FetchState], int]
"""How many studies of each source stand where."""


@dataclass(frozen=True, slots=True)
class OfferedStudy:
    """A study that a source lists; ``stated`` is how many instances it says to hold, None where it does not say."""

    study_instance_uid: str
    stated: int | None


@dataclass(frozen=True, slots=True)
class FetchedStudy:
    """One study on its way, as it stands."""

    id: int
    source: str
    study_instance_uid: str
    state: FetchState
    is_prior: bool
    stated: int | None
    instances: int | None
    counted_at: datetime
    fetched_instances: int | None
    fetched_at: datetime | None
    attempts: int
    next_attempt_at: datetime
    asked_by: str
    opened_at: datetime
    code: str | None
    reason: str | None


def note_offers(session: Session, source: str, offers: Iterable[OfferedStudy], *, now: datetime) -> int:
    """Note what a source lists, and return how many studies are new or have grown.

    One that is as it was when it came stays as it is: a revision is never fetched twice.
    """
    offered = {offer.study_instance_uid: offer for offer in offers}
    known = _rows(session, source, offered)
    changed = 0
    for uid, offer in offered.items():
        row = known.get(uid)
        if row is None:
            changed += _add(session, source, offer, asked_by=ACTOR, is_prior=False, now=now)
        elif offer.stated is None or offer.stated != row.stated:
            row.stated = offer.stated
            if row.state in (FetchState.FETCHED.value, FetchState.FAILED.value):
                row.attempts, row.next_attempt_at, row.counted_at = 0, now, now
                step(session, row, FetchState.SETTLING, now=now)
                changed += 1
    return changed


def want(
    session: Session, source: str, study_instance_uid: str, *, actor: str, now: datetime, is_prior: bool = False
) -> bool:
    """Have a study fetched, again where it came before; say whether it was not on its way already."""
    if not is_prior:
        want_for_itself(session, study_instance_uid, actor=actor, now=now)
    row = _rows(session, source, [study_instance_uid]).get(study_instance_uid)
    if row is None:
        offer = OfferedStudy(study_instance_uid, None)
        return bool(_add(session, source, offer, asked_by=actor, is_prior=is_prior, now=now))
    if row.state not in (FetchState.FETCHED.value, FetchState.FAILED.value) or is_prior:
        return False
    row.attempts, row.next_attempt_at, row.counted_at, row.fetched_instances = 0, now, now, None
    row.asked_by, row.code, row.reason = actor, None, None
    step(session, row, FetchState.SETTLING, now=now, actor=actor)
    return True


def settling(session: Session, source: str, *, now: datetime, limit: int) -> tuple[FetchedStudy, ...]:
    """Return studies of a source whose count is to be looked at, the longest waiting first."""
    query = select(FetchedStudyRow).where(
        FetchedStudyRow.source == source,
        FetchedStudyRow.state == FetchState.SETTLING.value,
        FetchedStudyRow.next_attempt_at <= now,
    )
    rows = session.scalars(query.order_by(FetchedStudyRow.next_attempt_at, FetchedStudyRow.id).limit(limit))
    return tuple(map(study_of, rows))


def counted(session: Session, study_id: int, instances: int, *, settle_seconds: float, now: datetime) -> None:
    """Note how many instances a source counts of a study: due once that stood still for long enough.

    One of which so many came before, and that holds no more, is as it was.
    """
    row = locked(session, study_id)
    if row is None or row.state != FetchState.SETTLING.value:
        return
    if row.instances != instances:
        row.instances, row.counted_at = instances, now
    if instances == row.fetched_instances:
        step(session, row, FetchState.FETCHED, now=now, details={"unchanged": True})
        return
    settled_at = row.counted_at + timedelta(seconds=settle_seconds)
    if settled_at > now:
        row.next_attempt_at = settled_at
        return
    row.next_attempt_at = now
    step(session, row, FetchState.DUE, now=now)


def only_ours(session: Session, study_id: int, *, now: datetime) -> None:
    """Note that a source holds nothing of a study but what oncue wrote: there is nothing to come."""
    row = locked(session, study_id)
    if row is None or row.state != FetchState.SETTLING.value:
        return
    row.instances = row.fetched_instances = 0
    row.counted_at = row.fetched_at = now
    row.code = row.reason = None
    step(session, row, FetchState.FETCHED, now=now, details={"only_ours": True})


def not_counted(session: Session, study_id: int, code: str, reason: str, *, draw: Draw, now: datetime) -> None:
    """Note that a source could not count a study: it is asked again later, and given up after some tries."""
    row = locked(session, study_id)
    if row is not None and row.state == FetchState.SETTLING.value:
        try_again(session, row, code, reason, draw=draw, now=now)


def listed(
    session: Session, *, state: FetchState | None = None, source: str | None = None, limit: int = 200
) -> tuple[FetchedStudy, ...]:
    """Return studies on their way or fetched, the newest first."""
    query = select(FetchedStudyRow).order_by(FetchedStudyRow.id.desc()).limit(limit)
    if state is not None:
        query = query.where(FetchedStudyRow.state == state.value)
    if source is not None:
        query = query.where(FetchedStudyRow.source == source)
    return tuple(map(study_of, session.scalars(query)))


def find(session: Session, source: str, study_instance_uid: str) -> FetchedStudy:
    """Return one study on its way from a source; RecordMissing where it is not."""
    row = _rows(session, source, [study_instance_uid]).get(study_instance_uid)
    if row is None:
        raise RecordMissing(f"the study is not on its way from {source}; `oncue fetch list` shows those that are")
    return study_of(row)


def counts(session: Session) -> Counts:
    """Return how many studies of each source stand where."""
    query = select(FetchedStudyRow.source, FetchedStudyRow.state, func.count()).group_by(
        FetchedStudyRow.source, FetchedStudyRow.state
    )
    return {(row[0], FetchState(row[1])): row[2] for row in session.execute(query)}


def is_prior(session: Session, study_instance_uid: str) -> bool:
    """Say whether a study was fetched as an earlier one of its patient, and nobody wanted it for itself."""
    query = select(FetchedStudyRow.is_prior).where(FetchedStudyRow.study_instance_uid == study_instance_uid)
    found = session.scalars(query).all()
    return bool(found) and all(found)


def want_for_itself(session: Session, study_instance_uid: str, *, actor: str, now: datetime) -> None:
    """Note that somebody wants a study for itself, whatever it was fetched for: it is analysed as any other."""
    prior = select(FetchedStudyRow).where(
        FetchedStudyRow.study_instance_uid == study_instance_uid, FetchedStudyRow.is_prior
    )
    for row in session.scalars(prior.with_for_update()):
        row.is_prior = False
        tell(session, row, "fetch:wanted", now=now, actor=actor)


def own_series(session: Session, study_instance_uid: str) -> frozenset[str]:
    """Return the series that oncue wrote for a study: a source that was sent them counts them, too."""
    query = (
        select(ResultObjectRow.series_instance_uid)
        .join(StudyRow, StudyRow.id == ResultObjectRow.study_id)
        .where(StudyRow.study_instance_uid == study_instance_uid)
    )
    return frozenset(session.scalars(query))


def here(session: Session, study_instance_uid: str) -> int:
    """Return how many instances of a study are kept here, whoever sent them."""
    query = (
        select(func.count())
        .select_from(InstanceRow)
        .join(StudyRow, StudyRow.id == InstanceRow.study_id)
        .where(StudyRow.study_instance_uid == study_instance_uid, InstanceRow.current, InstanceRow.deleted_at.is_(None))
    )
    return session.scalar(query) or 0


def _add(session: Session, source: str, offer: OfferedStudy, *, asked_by: str, is_prior: bool, now: datetime) -> int:
    values = {
        "source": source,
        "study_instance_uid": offer.study_instance_uid,
        "state": FetchState.SETTLING.value,
        "is_prior": is_prior,
        "stated": offer.stated,
        "counted_at": now,
        "attempts": 0,
        "next_attempt_at": now,
        "asked_by": asked_by,
        "opened_at": now,
    }
    if not add_if_new(session, FetchedStudyRow, values):
        return 0
    row = _rows(session, source, [offer.study_instance_uid])[offer.study_instance_uid]
    tell(session, row, f"fetch:{row.state}", now=now, actor=asked_by)
    return 1


def try_again(session: Session, row: FetchedStudyRow, code: str, reason: str, *, draw: Draw, now: datetime) -> None:
    """Note what went wrong: the study is tried again after a pause, and given up after some tries."""
    row.code, row.reason = code, reason
    if row.state == FetchState.SETTLING.value:
        row.attempts += 1
    if row.attempts >= MOST_ATTEMPTS:
        step(session, row, FetchState.FAILED, now=now, details={"code": code})
        return
    row.next_attempt_at = now + _AGAIN.pause(row.attempts, draw=draw)
    if row.state == FetchState.FETCHING.value:
        step(session, row, FetchState.DUE, now=now, details={"code": code})


def _rows(session: Session, source: str, uids: Collection[str]) -> dict[str, FetchedStudyRow]:
    wanted, found = list(uids), dict[str, FetchedStudyRow]()
    for first in range(0, len(wanted), _AT_ONCE):
        query = select(FetchedStudyRow).where(
            FetchedStudyRow.source == source,
            FetchedStudyRow.study_instance_uid.in_(wanted[first : first + _AT_ONCE]),
        )
        found |= {row.study_instance_uid: row for row in session.scalars(query.with_for_update())}
    return found


def locked(session: Session, study_id: int) -> FetchedStudyRow | None:
    """Return the row of a study, which nobody else may change until the transaction ends."""
    return session.get(FetchedStudyRow, study_id, with_for_update=True, populate_existing=True)


def study_of(row: FetchedStudyRow) -> FetchedStudy:
    """Return the plain form of a row."""
    return FetchedStudy(
        id=row.id,
        source=row.source,
        study_instance_uid=row.study_instance_uid,
        state=FetchState(row.state),
        is_prior=row.is_prior,
        stated=row.stated,
        instances=row.instances,
        counted_at=row.counted_at,
        fetched_instances=row.fetched_instances,
        fetched_at=row.fetched_at,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        asked_by=row.asked_by,
        opened_at=row.opened_at,
        code=row.code,
        reason=row.reason,
    )
