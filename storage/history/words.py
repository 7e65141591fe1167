"""Events whose details hold words, the first in the order of lists, whether the words are rare or in every event.

What is not a letter or a digit separates words, here as in the index: «no_usable_series» is found where these three
stand one after the other. Of rare words all events are looked up and sorted. Of common ones the latest events are
looked through first, and then those before them: in PostgreSQL by months, each of which has its index.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import count

from sqlalchemy import ColumnElement, and_, cast, column, func, literal, not_, select, table, text
from sqlalchemy.dialects.postgresql import REGCONFIG
from sqlalchemy.orm import Session

from storage.errors import QuestionInvalid
from storage.history.question import Order
from storage.history.selection import EVENTS, Condition, Row, Selection

_INDEX = table("audit_events_words", column("rowid"), column("audit_events_words"))
_FEW = 2000
_WINDOW = 2048
_WIDEST = 16_384


def first(session: Session, selection: Selection, words: str, limit: int) -> list[Row]:
    """Return the first events of a selection that have all words in their details."""
    phrases = _phrases(words)
    if session.get_bind().dialect.name == "postgresql":
        return _first_in_postgresql(session, selection, _in_postgresql(phrases), limit)
    return _first_in_sqlite(session, selection, " AND ".join(f'"{phrase}"' for phrase in phrases), limit)


def _phrases(words: str) -> tuple[str, ...]:
    found = (re.sub(r"[\W_]+", " ", word).strip() for word in words.split())
    phrases = tuple(phrase for phrase in found if phrase)
    if not phrases:
        raise QuestionInvalid("there is no word to look for: give letters or digits")
    return phrases


def _in_postgresql(phrases: tuple[str, ...]) -> Condition:
    simple = cast(literal("pg_catalog.simple"), REGCONFIG)
    queries: Iterator[ColumnElement[str]] = (func.phraseto_tsquery(simple, each) for each in phrases)
    asked = reduce(lambda one, other: one.op("&&")(other), queries)
    return func.audit_words(EVENTS.c.details).bool_op("@@")(asked)


def _first_in_postgresql(session: Session, selection: Selection, held: Condition, limit: int) -> list[Row]:
    if selection.question.is_narrow:
        return [*selection.first(session, limit, held)]
    # Left to itself the planner takes a word that it knows nothing of for one of each two hundred events, and reads
    # the index by time through to the end for one that is not there.
    session.execute(text("SET LOCAL enable_seqscan = off"))
    some = select(literal(1)).where(*selection.held(EVENTS, times_only=True), held).limit(_FEW + 1).subquery()
    if (session.scalar(select(func.count()).select_from(some)) or 0) <= _FEW:
        return [*_matched(session, selection, limit, held)]
    latest = next(_windows(session, selection))
    found = [*selection.first(session, limit, held, latest)]
    for window in _month_windows(session, selection):
        if len(found) >= limit:
            break
        found += _matched(session, selection, limit - len(found), held, window, not_(latest))
    return found


def _matched(session: Session, selection: Selection, limit: int, *held: Condition) -> Sequence[Row]:
    """Take all that the index of words names, then filter and sort these alone."""
    times = selection.held(EVENTS, times_only=True)
    alone = select(EVENTS).where(*times, *held).offset(0).subquery("named")
    return selection.first(session, limit, source=alone)


def _month_windows(session: Session, selection: Selection) -> Iterator[Condition]:
    """Return the months of the events in question, in the order asked for."""
    oldest, newest = session.execute(selection.bounds()).one()
    months = [] if oldest is None or newest is None else [*_months(oldest, newest)]
    if selection.order is Order.NEWEST:
        months.reverse()
    for beginning, end in months:
        yield and_(EVENTS.c.at >= beginning, EVENTS.c.at < end)


def _months(oldest: str, newest: str) -> Iterator[tuple[str, str]]:
    """Return the months between two times, each as what its times begin with and what those of the next do."""
    number = int(oldest[:4]) * 12 + int(oldest[5:7]) - 1
    last = int(newest[:4]) * 12 + int(newest[5:7]) - 1
    for month in range(number, last + 1):
        yield _month(month), _month(month + 1)


def _month(number: int) -> str:
    return f"{number // 12:04}-{number % 12 + 1:02}"


def _first_in_sqlite(session: Session, selection: Selection, asked: str, limit: int) -> list[Row]:
    match = _INDEX.c.audit_events_words.op("MATCH")(asked)
    if selection.question.is_narrow:
        held = select(literal(1)).select_from(_INDEX).where(match, _INDEX.c.rowid == EVENTS.c.seq).exists()
        return [*selection.first(session, limit, held)]
    some = select(literal(1)).select_from(_INDEX).where(match).limit(_FEW + 1).subquery()
    if (session.scalar(select(func.count()).select_from(some)) or 0) <= _FEW:
        return [*_looked_up(session, selection, match, limit)]
    found: list[Row] = []
    for window in _windows(session, selection):
        numbers = select(func.min(EVENTS.c.seq), func.max(EVENTS.c.seq)).where(window)
        lowest, highest = session.execute(numbers).one()
        near = and_(match, _INDEX.c.rowid.between(lowest, highest))
        found += _looked_up(session, selection, near, limit - len(found), window)
        if len(found) >= limit:
            break
    return found


def _looked_up(session: Session, selection: Selection, match: Condition, limit: int, *window: Condition) -> list[Row]:
    """Look the events that the index of words names up by their numbers, then filter and sort these alone."""
    named = select(EVENTS).where(EVENTS.c.seq.in_(select(_INDEX.c.rowid).where(match)))
    # The limit, which none reaches, keeps SQLite from choosing another index for the conditions.
    alone = named.where(*window).limit(2**62).subquery("named")
    return [*selection.first(session, limit, source=alone)]


def _windows(session: Session, selection: Selection) -> Iterator[Condition]:
    """Return stretches of time in the order asked for, first of few events and then of more."""
    at = EVENTS.c.at
    edge: str | None = None
    for step in count():
        behind = [] if edge is None else [at < edge if selection.order is Order.NEWEST else at > edge]
        reach = selection.sorted(select(at).where(*selection.held(EVENTS, times_only=True), *behind), EVENTS)
        edge = session.scalar(reach.offset(min(_WINDOW * 4**step, _WIDEST) - 1).limit(1))
        within = [] if edge is None else [at >= edge if selection.order is Order.NEWEST else at <= edge]
        yield and_(*selection.held(EVENTS, times_only=True), *behind, *within)
        if edge is None:
            return
