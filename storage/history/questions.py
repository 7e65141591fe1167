"""Asks the history: pages of the events that pass a question's filters.

Each filter is found by an index that has the order of lists, so that a page costs the same however long the history
is. Of a filter that stands for several values, each is asked for by itself. For words see ``storage.history.words``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Column, literal_column, select, text
from sqlalchemy.orm import Session

from storage.audit import AuditEvent
from storage.errors import QuestionInvalid
from storage.history import words
from storage.history.question import Order, Place, Question
from storage.history.selection import EVENTS, Choice, Row, Selection

_DIGEST_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Page:
    """Some events in order; ``cursor`` asks for those that follow, None where none do."""

    events: tuple[AuditEvent, ...]
    cursor: str | None


def page(
    session: Session, question: Question, order: Order = Order.NEWEST, *, limit: int = 200, after: str | None = None
) -> Page:
    """Return at most ``limit`` events that pass a question, those after a cursor; QuestionInvalid for a bad one."""
    if limit < 1:
        raise QuestionInvalid("a page holds at least one event")
    found = first(session, question, order, limit=limit + 1, after=None if after is None else Place.parse(after))
    events = tuple(AuditEvent(*row) for row in found[:limit])
    return Page(events, str(place_of(events[-1])) if len(found) > limit else None)


def pages(session: Session, question: Question, order: Order = Order.NEWEST, *, size: int = 1000) -> Iterator[Page]:
    """Return all events that pass a question, page by page."""
    found = page(session, question, order, limit=size)
    yield found
    while found.cursor is not None:
        found = page(session, question, order, limit=size, after=found.cursor)
        yield found


def place_of(event: AuditEvent) -> Place:
    """Return where an event stands in the order of lists."""
    return Place(event.at, event.seq)


def first(
    session: Session, question: Question, order: Order, *, limit: int, after: Place | None = None
) -> Sequence[Row]:
    """Return the first events that pass a question, as rows with the fields of an event."""
    if session.get_bind().dialect.name == "postgresql":
        # Which index serves best hangs on how common a value is: a plan for any value would be a bad one for most.
        session.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
    choices = _choices(session, question)
    if any(not choice.values for choice in choices):
        return ()
    selection = Selection(question, choices, order, after)
    if question.words is None:
        return selection.first(session, limit)
    return words.first(session, selection, question.words, limit)


def _choices(session: Session, question: Question) -> tuple[Choice, ...]:
    found = []
    if question.object is not None:
        found.append(Choice("subject", _subjects(question.object)))
    if question.action is not None:
        found.append(_beginning(session, EVENTS.c.tag, question.action, whole=not question.action.endswith(":")))
    if question.weights is not None:
        whole = len(question.weights) == _DIGEST_LENGTH
        found.append(_beginning(session, EVENTS.c.weights, question.weights, whole=whole))
    return tuple(found)


def _subjects(name: str) -> tuple[str, ...]:
    """Return what events call an object: their subject as it stands, or a UID, which names an instance or a study."""
    return (name,) if "/" in name else (f"instance/{name}", f"study/{name}")


def _beginning(session: Session, column: Column[str], text_: str, *, whole: bool) -> Choice:
    """Return the values of a column that begin with a text."""
    if whole:
        return Choice(column.name, (text_,))
    return Choice(column.name, tuple(value for value in _values(session, column) if value.startswith(text_)))


def _values(session: Session, column: Column[str]) -> list[str]:
    """Return the different values of a column by stepping through its index, from each value to the next."""
    least = select(column.label("value")).where(column.is_not(None)).order_by(column).limit(1).subquery()
    seen = select(least.c.value).cte("seen", recursive=True)
    following = select(column).where(column > literal_column("seen.value")).order_by(column).limit(1).scalar_subquery()
    steps = seen.union_all(select(following).where(seen.c.value.is_not(None)))
    return [value for value in session.scalars(select(steps.c.value)) if value is not None]
