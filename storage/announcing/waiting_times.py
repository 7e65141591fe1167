"""How long urgent studies took from their last image until they were analysed, announced and opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
from sqlalchemy import select
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session

from storage.announcing.tables import UrgentStudyRow

NO_CHANNEL = "(none)"
"""The group of the studies that no channel took."""

_Row = Row[datetime, datetime, datetime | None, datetime | None, str | None, str, str]
_PAGE = 2000
_MEDIAN, _TAIL = 0.5, 0.95


class TimesBy(StrEnum):
    """What urgent studies are grouped by. DAY: that on which they were analysed, in UTC."""

    ROUTE = "route"
    DAY = "day"
    CHANNEL = "channel"
    PRIORITY = "priority"


@dataclass(frozen=True, slots=True)
class TimesAsked:
    """Which urgent studies are asked about: those analysed at ``since`` or later and before ``until``."""

    since: datetime
    until: datetime | None = None
    by: TimesBy = TimesBy.ROUTE


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds from the last image to a moment, of the ``count`` studies for which it came; None where there is none.

    ``left_out`` had the moment before their result or their last image: it was of the result before, or clocks differ.
    """

    count: int
    median_seconds: float | None
    p95_seconds: float | None
    left_out: int


@dataclass(frozen=True, slots=True)
class WaitingTimes:
    """The times of one group; ``group`` is None for all together. ``unopened`` nobody opened before they ended."""

    group: str | None
    studies: int
    analysed: Span
    announced: Span
    opened: Span
    unopened: int


@dataclass(frozen=True, slots=True)
class TimesReport:
    """The times of each group, by name, and of all together."""

    groups: tuple[WaitingTimes, ...]
    total: WaitingTimes


@dataclass(slots=True)
class _Moments:
    """The seconds that were collected for one moment."""

    seconds: list[float] = field(default_factory=list)
    left_out: int = 0

    def add(self, row: _Row, at: datetime | None) -> None:
        if at is None:
            return
        if at < row.analysed_at or at < row.arrived_at:
            self.left_out += 1
        else:
            self.seconds.append((at - row.arrived_at).total_seconds())

    def span(self) -> Span:
        if not self.seconds:
            return Span(0, None, None, self.left_out)
        median, tail = np.quantile(np.asarray(self.seconds), (_MEDIAN, _TAIL))
        return Span(len(self.seconds), round(float(median), 3), round(float(tail), 3), self.left_out)


@dataclass(slots=True)
class _Group:
    """What was collected of one group."""

    studies: int = 0
    unopened: int = 0
    analysed: _Moments = field(default_factory=_Moments)
    announced: _Moments = field(default_factory=_Moments)
    opened: _Moments = field(default_factory=_Moments)

    def add(self, row: _Row) -> None:
        self.studies += 1
        self.unopened += row.opened_at is None
        self.analysed.add(row, row.analysed_at)
        self.announced.add(row, row.announced_at)
        self.opened.add(row, row.opened_at)

    def times(self, name: str | None) -> WaitingTimes:
        spans = self.analysed.span(), self.announced.span(), self.opened.span()
        return WaitingTimes(name, self.studies, *spans, unopened=self.unopened)


def report(session: Session, asked: TimesAsked) -> TimesReport:
    """Return the times of the urgent studies that were analysed in a span, grouped as asked."""
    groups: dict[str, _Group] = {}
    total = _Group()
    for row in _rows(session, asked):
        groups.setdefault(_name(row, asked.by), _Group()).add(row)
        total.add(row)
    return TimesReport(tuple(groups[name].times(name) for name in sorted(groups)), total.times(None))


def _rows(session: Session, asked: TimesAsked) -> Iterator[_Row]:
    columns = (
        UrgentStudyRow.arrived_at,
        UrgentStudyRow.analysed_at,
        UrgentStudyRow.announced_at,
        UrgentStudyRow.opened_at,
        UrgentStudyRow.announced_by,
        UrgentStudyRow.route,
        UrgentStudyRow.priority,
    )
    query = select(*columns).where(UrgentStudyRow.analysed_at >= asked.since)
    if asked.until is not None:
        query = query.where(UrgentStudyRow.analysed_at < asked.until)
    yield from session.execute(query.execution_options(yield_per=_PAGE))


def _name(row: _Row, by: TimesBy) -> str:
    if by is TimesBy.DAY:
        return f"{row.analysed_at:%Y-%m-%d}"
    return str({TimesBy.ROUTE: row.route, TimesBy.PRIORITY: row.priority}.get(by, row.announced_by or NO_CHANNEL))
