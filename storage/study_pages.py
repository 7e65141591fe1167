"""Pages of studies, ordered, filtered and counted by the database.

Each list is one walk along an index from the place where the last page ended. Studies that still arrive are few, and
their last image is only in ``studies``: their part of a list is read there and merged, so that an image on its way in
writes nothing for the lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Float, Row, Select, func, literal, select, tuple_, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.cursors import ArrivalPlace, ReadingPlace
from storage.domain import Priority
from storage.models import StandingRow, StudyRow, UtcTime
from storage.states import StudyState

_Query: TypeAlias = Select[*tuple[Any, ...]]
_Key: TypeAlias = tuple[ColumnElement[Any], ...]

_NARROW = 4000
"""Most studies of a time range that are sorted when they are asked for."""

COUNTED = 1000
"""Lists are counted up to here; what lies behind is said to be more."""


class StudyList(StrEnum):
    """A list of studies; the first two are in reading order, the others have the newest arrivals first."""

    WORKLIST = "worklist"
    ANALYSED = "analysed"
    ALL = "all"
    WAITING = "waiting"
    NOT_APPLICABLE = "not_applicable"


_OPEN = frozenset({StudyState.RECEIVING, StudyState.HELD})
"""States of studies that still arrive."""

_IN_READING_ORDER = frozenset({StudyList.WORKLIST, StudyList.ANALYSED})

_ON_LIST: Mapping[StudyList, tuple[ColumnElement[bool], ...]] = {
    StudyList.WORKLIST: (StandingRow.unread.expression,),
    StudyList.ANALYSED: (StandingRow.analysed.expression,),
    StudyList.ALL: (),
    StudyList.WAITING: (StandingRow.waiting.expression,),
    StudyList.NOT_APPLICABLE: (StandingRow.state == StudyState.NOT_APPLICABLE.value,),
}


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """What studies of a list are wanted; None stands for any. Times are those of the last image, both included."""

    state: StudyState | None = None
    priority: Priority | None = None
    since: datetime | None = None
    until: datetime | None = None
    patient_id: str | None = None
    accession_number: str | None = None

    def in_time(self, hours: float, *, now: datetime) -> StudyFilter:
        """Return the filter that leaves out, too, what arrived more than so many hours ago; 0 leaves out nothing."""
        if not hours:
            return self
        oldest = now - timedelta(hours=hours)
        return replace(self, since=oldest if self.since is None else max(oldest, self.since))


ANY_STUDY = StudyFilter()


@dataclass(frozen=True, slots=True)
class Place:
    """A study of a page, and the cursor of the page that begins behind it."""

    study_id: int
    cursor: str


@dataclass(frozen=True, slots=True)
class CappedCount:
    """How many entries a list has, counted to ``number`` at most."""

    number: int
    more: bool = False

    def __str__(self) -> str:
        """Return it in words."""
        return f"more than {self.number:,}" if self.more else f"{self.number:,}"


def capped(found: int, *, cap: int = COUNTED) -> CappedCount:
    """Return the count of a list whose first ``cap + 1`` entries were counted."""
    return CappedCount(min(found, cap), more=found > cap)


def page(
    session: Session, which: StudyList, *, wanted: StudyFilter = ANY_STUDY, limit: int, after: str | None = None
) -> tuple[Place, ...]:
    """Return a page of a list: the studies behind the place that a cursor names, or the first ones."""
    in_reading_order = which in _IN_READING_ORDER
    behind = (_reading_key(after) if in_reading_order else _arrival_key(after)) if after is not None else None
    parts = [part.within(limit, behind, ascending=in_reading_order) for part in _parts(session, which, wanted)]
    if not parts:
        return ()
    rows = session.execute(_merged(parts, limit, ascending=in_reading_order))
    return tuple(_place(row, in_reading_order=in_reading_order) for row in rows)


def count(session: Session, which: StudyList, *, wanted: StudyFilter = ANY_STUDY) -> CappedCount:
    """Return how many studies a list has, counted to a thousand at most."""
    found = 0
    for part in _parts(session, which, wanted):
        query = part.query.with_only_columns(StandingRow.study_id).limit(COUNTED + 1)
        found += session.scalar(select(func.count()).select_from(query.subquery())) or 0
    return capped(found)


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a list: its query, whose columns are the keys that the list is ordered by."""

    query: _Query
    keys: _Key

    def within(self, limit: int, behind: _Key | None, *, ascending: bool) -> _Query:
        query = self.query
        if behind is not None:
            here, there = tuple_(*self.keys), tuple_(*behind)
            query = query.where(here > there if ascending else here < there)
        order = [key if ascending else key.desc() for key in self.keys]
        return query.order_by(*order).limit(limit)


def _parts(session: Session, which: StudyList, wanted: StudyFilter) -> list[_Part]:
    if wanted.patient_id is not None or wanted.accession_number is not None:
        return [_gathered(which, wanted)]
    parts = []
    if wanted.state not in _OPEN:
        parts.append(_complete(which, wanted, sort=which in _IN_READING_ORDER and _is_narrow(session, wanted)))
    if wanted.state in (None, *_OPEN) and which is not StudyList.NOT_APPLICABLE:
        parts.append(_gathered(which, wanted, StudyRow.closed_at.is_(None)))
    return parts


def _complete(which: StudyList, wanted: StudyFilter, *, sort: bool) -> _Part:
    """Return the complete studies of a list, read along the index of its order, or sorted where they are few."""
    keys = _keys(which, StandingRow.arrived_at, of_index=not sort)
    conditions = [*_ON_LIST[which], *_wanted(wanted, StandingRow.arrived_at, of_index=True)]
    if wanted.state is None and which is not StudyList.NOT_APPLICABLE:
        conditions.append(StandingRow.complete.expression)
    return _Part(select(*_labelled(keys)).where(*conditions), keys)


def _gathered(which: StudyList, wanted: StudyFilter, *conditions: ColumnElement[bool]) -> _Part:
    """Return studies of a list that an index of ``studies`` finds, few as they are; they are sorted afterwards."""
    keys = _keys(which, StudyRow.last_instance_at, of_index=False)
    narrowed = _wanted(wanted, StudyRow.last_instance_at, of_index=False)
    query = select(*_labelled(keys)).where(*_ON_LIST[which], *conditions, *narrowed)
    return _Part(query.select_from(StudyRow).join(StandingRow, StandingRow.study_id == StudyRow.id), keys)


def _is_narrow(session: Session, wanted: StudyFilter) -> bool:
    """Say whether so few studies arrived in the time that is wanted that sorting them beats a walk along the order."""
    if wanted.since is None and wanted.until is None:
        return False
    in_time = StudyFilter(since=wanted.since, until=wanted.until)
    query = _complete(StudyList.ALL, in_time, sort=False).query.limit(_NARROW + 1)
    return (session.scalar(select(func.count()).select_from(query.subquery())) or 0) <= _NARROW


def _keys(which: StudyList, arrived: InstrumentedAttribute[datetime], *, of_index: bool) -> _Key:
    """Return what a list is ordered by; where no index is to be walked, in a form that keeps SQLite from trying."""
    if which not in _IN_READING_ORDER:
        return arrived.expression, StandingRow.study_id.expression
    rank, minus_confidence = StandingRow.rank.expression, StandingRow.minus_confidence.expression
    leading = (rank, minus_confidence) if of_index else (rank + 0, minus_confidence + 0.0)
    return *leading, arrived.expression, StandingRow.study_id.expression


def _labelled(keys: _Key) -> list[ColumnElement[Any]]:
    return [key.label(f"key_{number}") for number, key in enumerate(keys)]


def _wanted(
    wanted: StudyFilter, arrived: InstrumentedAttribute[datetime], *, of_index: bool
) -> list[ColumnElement[bool]]:
    """Return the conditions of a filter; where they are to choose no index, in a form that cannot."""
    conditions = []
    if wanted.state is not None:
        conditions.append((StandingRow.state if of_index else StandingRow.state.concat("")) == wanted.state.value)
    if wanted.priority is not None:
        conditions.append((StandingRow.rank if of_index else StandingRow.rank + 0) == wanted.priority.rank)
    if wanted.patient_id is not None:
        conditions.append(StudyRow.patient_id == wanted.patient_id)
    if wanted.accession_number is not None:
        conditions.append(StudyRow.accession_number == wanted.accession_number)
    if wanted.since is not None:
        conditions.append(arrived >= wanted.since)
    if wanted.until is not None:
        conditions.append(arrived <= wanted.until)
    return conditions


def _merged(parts: Sequence[_Query], limit: int, *, ascending: bool) -> _Query:
    """Return the query for the first rows of several ordered ones together."""
    if len(parts) == 1:
        return parts[0]
    # SQLite takes a LIMIT inside of a union only in a query of its own.
    both = union_all(*(select(part.subquery()) for part in parts)).subquery()
    return select(both).order_by(*(key if ascending else key.desc() for key in both.c)).limit(limit)


def _arrival_key(after: str) -> _Key:
    place = ArrivalPlace.read(after)
    return literal(place.arrived_at, UtcTime()), literal(place.study_id)


def _reading_key(after: str) -> _Key:
    place = ReadingPlace.read(after)
    moment = literal(place.arrived_at, UtcTime())
    return literal(place.rank), literal(0.0 - place.confidence, Float()), moment, literal(place.study_id)


def _place(row: Row[*tuple[Any, ...]], *, in_reading_order: bool) -> Place:
    if not in_reading_order:
        return Place(row[1], str(ArrivalPlace(row[0], row[1])))
    rank, minus_confidence, arrived_at, study_id = row
    return Place(study_id, str(ReadingPlace(rank, 0.0 - minus_confidence, arrived_at, study_id)))
