"""The sources that studies are fetched from: one entry each, with what is wanted of it, when, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import audit
from storage.backoff import Backoff, Draw
from storage.domain import Lane
from storage.errors import FetchSourceBusy, RecordExists
from storage.fetching.hours import Hours
from storage.fetching.tables import FetchedStudyRow, FetchSourceRow
from storage.fetching.wanted import Wanted
from storage.models import StudyRow
from storage.named_entries import EntryKind
from storage.states import FetchState

SETTLE_SECONDS = 60
_KIND = EntryKind(FetchSourceRow, "fetch-source", "source", "oncue fetch sources list")
_LEFT_ALONE = Backoff(first_seconds=30.0, longest_seconds=900.0)


class FetchWay(StrEnum):
    """How images come: sent by the source to our listener, over our own association, or by DICOMweb."""

    MOVE = "move"
    GET = "get"
    WADO = "wado"


@dataclass(frozen=True, slots=True)
class FetchSource:
    """One source. What is None is no limit, or not done: one without ``every_seconds`` is asked when somebody says so.

    A study is fetched once its count stood still for ``settle_seconds``. ``priors`` is how many earlier studies of a
    patient are fetched when one arrives. ``credentials`` is the path of a file. ``lane`` is that of what comes by GET
    and WADO; what the source sends by itself has that of its peer's entry.
    """

    name: str
    address: str
    way: FetchWay
    wanted: Wanted = field(default_factory=Wanted)
    every_seconds: int | None = None
    settle_seconds: int = SETTLE_SECONDS
    hours: Hours | None = None
    studies_per_hour: int | None = None
    priors: int | None = None
    lane: Lane = Lane.BATCH
    credentials: str | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class RecordedSource:
    """An entry with who made it and when, when it was last asked, and what went wrong then."""

    entry: FetchSource
    added_by: str
    added_at: datetime
    changed_at: datetime
    asked_at: datetime | None
    next_ask_at: datetime | None
    failures: int
    code: str | None
    reason: str | None
    priors_after: int


def add(session: Session, entry: FetchSource, *, actor: str, now: datetime) -> None:
    """Record a source; RecordExists where its name is taken. It is asked at once where it is asked by itself."""
    if _KIND.find(session, entry.name) is not None:
        raise RecordExists(
            f"there is a source {entry.name} already: choose another name, or `oncue fetch sources change`"
        )
    session.add(
        FetchSourceRow(
            **_columns(entry),
            added_by=actor,
            added_at=now,
            changed_at=now,
            asked_at=None,
            next_ask_at=None if entry.every_seconds is None else now,
            failures=0,
            priors_after=_last_study(session),
        )
    )
    session.flush()
    audit.record(
        session, "fetch-source:added", _KIND.subject(entry.name), actor=actor, now=now, details=_details(entry)
    )


def change(session: Session, entry: FetchSource, *, actor: str, now: datetime) -> None:
    """Put an entry in the place of the one with its name, and ask it anew; RecordMissing where there is none."""
    row = _KIND.required(session, entry.name)
    before = _entry(row)
    if before == entry:
        return
    for column, value in _columns(entry).items():
        setattr(row, column, value)
    row.changed_at, row.failures, row.code, row.reason = now, 0, None, None
    row.next_ask_at = None if entry.every_seconds is None else now
    if before.priors is None:
        row.priors_after = _last_study(session)
    session.flush()
    audit.record(
        session, "fetch-source:changed", _KIND.subject(entry.name), actor=actor, now=now, details=_details(entry)
    )


def set_paused(session: Session, name: str, *, paused: bool, actor: str, now: datetime) -> None:
    """Ask a source nothing and fetch nothing until it is resumed, or go on; the same once more changes nothing."""
    row = _KIND.set_paused(session, name, paused=paused, actor=actor, now=now)
    if row is not None and not paused and row.every_seconds is not None:
        row.next_ask_at = now


def remove(session: Session, name: str, *, actor: str, now: datetime) -> None:
    """Take a source off the record; FetchSourceBusy while a study is being fetched from it.

    What waits for it is forgotten with it; what came stays on record under its name.
    """
    row = _KIND.required(session, name)
    of_source = FetchedStudyRow.source == name
    if session.scalar(select(FetchedStudyRow.id).where(of_source, FetchedStudyRow.state == FetchState.FETCHING.value)):
        raise FetchSourceBusy(f"a study is being fetched from {name}: pause it, and remove it once that has ended")
    waiting = FetchedStudyRow.state.in_([FetchState.SETTLING.value, FetchState.DUE.value])
    forgotten = session.scalars(select(FetchedStudyRow).where(of_source, waiting)).all()
    for study in forgotten:
        session.delete(study)
    details = {**_details(_entry(row)), "forgotten": len(forgotten)}
    session.delete(row)
    session.flush()
    audit.record(session, "fetch-source:removed", _KIND.subject(name), actor=actor, now=now, details=details)


def find(session: Session, name: str) -> RecordedSource:
    """Return the source of this name; RecordMissing where there is none."""
    row = _KIND.find(session, name)
    if row is None:
        raise _KIND.missing(name)
    return _recorded(row)


def listed(session: Session) -> tuple[RecordedSource, ...]:
    """Return every source by name."""
    return tuple(map(_recorded, session.scalars(select(FetchSourceRow).order_by(FetchSourceRow.name))))


def ask_now(session: Session, name: str, *, actor: str, now: datetime) -> None:
    """Have a source asked as soon as a gateway can; RecordMissing."""
    row = _KIND.required(session, name)
    row.next_ask_at, row.failures = now, 0
    audit.record(session, "fetch-source:ask-requested", _KIND.subject(name), actor=actor, now=now)


def answered(session: Session, name: str, *, turn: datetime, now: datetime) -> None:
    """Note that a source answered; no event: what is fetched of it has one each.

    ``turn`` is until when it was held: where somebody wanted it asked meanwhile, it is asked once more.
    """
    row = _KIND.taken(session, name)
    if row is None:
        return
    row.asked_at, row.failures, row.code, row.reason = now, 0, None, None
    if row.next_ask_at == turn:
        every = row.every_seconds
        row.next_ask_at = None if every is None else now + timedelta(seconds=every)


def silent(session: Session, name: str, code: str, reason: str, *, draw: Draw, now: datetime) -> None:
    """Note that a source cannot be asked: it is left alone for a while, longer each time. A new reason has an event."""
    row = _KIND.taken(session, name)
    if row is None:
        return
    if row.code != code:
        audit.record(
            session, "fetch-source:ask-failed", _KIND.subject(name), actor="fetching", now=now, details={"code": code}
        )
    row.failures += 1
    row.asked_at, row.code, row.reason = now, code, reason
    row.next_ask_at = now + _LEFT_ALONE.pause(row.failures, draw=draw)


def take_turn(session: Session, name: str, *, now: datetime, hold_seconds: float) -> datetime | None:
    """Take the turn to ask a source that is due, and return until when nobody else does; None where it is not due."""
    row = session.scalars(
        select(FetchSourceRow).where(FetchSourceRow.name == name).with_for_update(skip_locked=True)
    ).one_or_none()
    if row is None or row.paused or row.next_ask_at is None or row.next_ask_at > now:
        return None
    row.next_ask_at = now + timedelta(seconds=hold_seconds)
    return row.next_ask_at


def priors_asked(session: Session, name: str, study_id: int) -> None:
    """Note up to which study of ours a source was asked for priors."""
    row = _KIND.find(session, name)
    if row is not None and study_id > row.priors_after:
        row.priors_after = study_id


def _last_study(session: Session) -> int:
    return session.scalar(select(func.max(StudyRow.id))) or 0


def _columns(entry: FetchSource) -> dict[str, audit.Detail]:
    return {
        "name": entry.name,
        "address": entry.address,
        "way": entry.way.value,
        "filter": entry.wanted.text(),
        "every_seconds": entry.every_seconds,
        "settle_seconds": entry.settle_seconds,
        "hours": None if entry.hours is None else str(entry.hours),
        "studies_per_hour": entry.studies_per_hour,
        "priors": entry.priors,
        "lane": entry.lane.value,
        "credentials": entry.credentials,
        "paused": entry.paused,
    }


def _details(entry: FetchSource) -> dict[str, audit.Detail]:
    """Return what an event tells of a source: the keys of its filter without their values, which may be a patient's."""
    left_out = ("name", "credentials", "filter")
    columns = {column: value for column, value in _columns(entry).items() if column not in left_out}
    return {**columns, "filter": ",".join(sorted(entry.wanted.keys)), "credentials": entry.credentials is not None}


def _entry(row: FetchSourceRow) -> FetchSource:
    return FetchSource(
        name=row.name,
        address=row.address,
        way=FetchWay(row.way),
        wanted=Wanted.read(row.filter),
        every_seconds=row.every_seconds,
        settle_seconds=row.settle_seconds,
        hours=None if row.hours is None else Hours.parse(row.hours),
        studies_per_hour=row.studies_per_hour,
        priors=row.priors,
        lane=Lane(row.lane),
        credentials=row.credentials,
        paused=row.paused,
    )


def _recorded(row: FetchSourceRow) -> RecordedSource:
    return RecordedSource(
        _entry(row),
        row.added_by,
        row.added_at,
        row.changed_at,
        row.asked_at,
        row.next_ask_at,
        row.failures,
        row.code,
        row.reason,
        row.priors_after,
    )
