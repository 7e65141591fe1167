"""How many events a question has: by action, by actor and by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, time, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.audit import moment
from storage.audit_tables import AuditCountRow, AuditPendingRow
from storage.history import questions
from storage.history.question import Order, Question
from storage.history.selection import EVENTS, FIELDS, Condition

MOST = 100_000
_AT, _TAG, _ACTOR = FIELDS.index("at"), FIELDS.index("tag"), FIELDS.index("actor")
_DAY_LENGTH = len("2026-11-28")
_TIMES = frozenset({"since", "until"})


@dataclass(frozen=True, slots=True)
class Tally:
    """How many events have one value."""

    value: str
    count: int


@dataclass(frozen=True, slots=True)
class Facets:
    """The counts of a question: actions and actors by how many they are, days (UTC) from the newest.

    Where ``is_complete`` is False there are more than the ``MOST`` newest events, which alone were counted.
    """

    actions: tuple[Tally, ...]
    actors: tuple[Tally, ...]
    days: tuple[Tally, ...]
    is_complete: bool


def facets(session: Session, question: Question) -> Facets:
    """Return the counts of a question.

    Whole days of a question about time alone are not counted again: sealing counted them. Other questions are counted
    event by event.
    """
    if question.filters <= _TIMES:
        return _of_times(session, question)
    found = questions.first(session, question, Order.NEWEST, limit=MOST + 1)
    counted = Counter((row[_TAG], row[_ACTOR], row[_AT][:_DAY_LENGTH]) for row in found[:MOST])
    return _facets(_Counts.of(counted), is_complete=len(found) <= MOST)


@dataclass(frozen=True, slots=True)
class _Counts:
    actions: Counter[str]
    actors: Counter[str]
    days: Counter[str]

    @classmethod
    def of(cls, counted: Counter[tuple[str, str, str]]) -> _Counts:
        counts = cls(Counter(), Counter(), Counter())
        for (tag, actor, day), number in counted.items():
            counts.actions[tag] += number
            counts.actors[actor] += number
            counts.days[day] += number
        return counts


def _of_times(session: Session, question: Question) -> Facets:
    first, end = _whole_days(question)
    beside = (_counted(session, *part) for part in _partial_days(question, first, end))
    counts = _Counts.of(sum(beside, Counter()))
    if first < end:
        unsealed = EVENTS.c.seq.in_(select(AuditPendingRow.seq))
        late = _Counts.of(_counted(session, unsealed, EVENTS.c.at >= first, EVENTS.c.at < end))
        for mine, more in zip(
            (counts.actions, counts.actors, counts.days), (late.actions, late.actors, late.days), strict=True
        ):
            mine.update(more)
        _add_sealed(session, counts, first, end)
    return _facets(counts, is_complete=True)


def _whole_days(question: Question) -> tuple[str, str]:
    """Return the first whole day in question and the day that ends them, as text."""
    first, end = "0000-01-01", "9999-12-31"
    if question.since is not None:
        since = question.since.astimezone(UTC)
        begun = since.time() != time()
        first = (since + timedelta(days=1 if begun else 0)).date().isoformat()
    if question.until is not None:
        end = question.until.astimezone(UTC).date().isoformat()
    return first, end


def _partial_days(question: Question, first: str, end: str) -> Iterator[tuple[Condition, ...]]:
    """Return what the events before and after the whole days hold to."""
    at = EVENTS.c.at
    since = None if question.since is None else moment(question.since)
    until = None if question.until is None else moment(question.until)
    if first >= end and since is not None and until is not None:
        yield at >= since, at < until
        return
    if since is not None and since[:_DAY_LENGTH] < first:
        yield at >= since, at < first
    if until is not None:
        yield at >= end, at < until


def _counted(session: Session, *held: Condition) -> Counter[tuple[str, str, str]]:
    day = func.substr(EVENTS.c.at, 1, _DAY_LENGTH)
    query = select(EVENTS.c.tag, EVENTS.c.actor, day, func.count()).where(*held)
    rows = session.execute(query.group_by(EVENTS.c.tag, EVENTS.c.actor, day))
    return Counter({(tag, actor, on): number for tag, actor, on, number in rows})


def _add_sealed(session: Session, counts: _Counts, first: str, end: str) -> None:
    """Add what sealing counted; the database adds up, for two years of days are tens of thousands of rows."""
    row = AuditCountRow
    within = (row.day >= first, row.day < end)
    by_name = select(row.kind, row.name, func.sum(row.count)).where(*within).group_by(row.kind, row.name)
    for kind, name, number in session.execute(by_name):
        (counts.actions if kind == "tag" else counts.actors)[name] += int(number)
    by_day = select(row.day, func.sum(row.count)).where(*within, row.kind == "tag").group_by(row.day)
    for day, number in session.execute(by_day):
        counts.days[day] += int(number)


def _facets(counts: _Counts, *, is_complete: bool) -> Facets:
    days = tuple(Tally(day, number) for day, number in sorted(counts.days.items(), reverse=True))
    return Facets(_largest(counts.actions), _largest(counts.actors), days, is_complete)


def _largest(counts: Counter[str]) -> tuple[Tally, ...]:
    return tuple(Tally(value, number) for value, number in sorted(counts.items(), key=lambda one: (-one[1], one[0])))
