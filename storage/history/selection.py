"""Events that hold to conditions, the first of them in an order, read by an index that has that order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    String,
    Table,
    column,
    literal,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
    values,
)
from sqlalchemy.orm import Session

from storage.audit import AuditEvent, Outcome, moment
from storage.audit_tables import AuditEventRow
from storage.history.question import Order, Place, Question

EVENTS = cast("Table", AuditEventRow.__table__)
FIELDS = tuple(AuditEvent.__slots__)

Condition: TypeAlias = ColumnElement[bool]
Row: TypeAlias = Sequence[Any]

_EQUAL = ("patient_key", "study", "series", "actor", "outcome", "route", "model")


@dataclass(frozen=True, slots=True)
class Choice:
    """A column that may have any of several values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a question columns answer, those that may have several values among them; no words.

    ``after`` is the place that the events lie behind, in the order asked for.
    """

    question: Question
    choices: tuple[Choice, ...]
    order: Order
    after: Place | None = None

    def first(self, session: Session, limit: int, *conditions: Condition, source: FromClause = EVENTS) -> Sequence[Row]:
        """Return the first events that hold to further conditions too, as rows of ``FIELDS``.

        ``source`` is where they are read from: all events, or some of them with all columns.
        """
        several = sorted(
            (choice for choice in self.choices if len(choice.values) > 1), key=lambda one: -len(one.values)
        )
        apart = several[0] if several and source is EVENTS else None
        among = [source.c[choice.name].in_(choice.values) for choice in self.choices if choice is not apart]
        query = select(*(source.c[name] for name in FIELDS)).where(*self.held(source), *among, *conditions)
        if apart is None:
            return session.execute(self.sorted(query, source).limit(limit)).all()
        if session.get_bind().dialect.name == "postgresql":
            return session.execute(self._laterally(query, apart, limit)).all()
        return session.execute(self._one_by_one(query, apart, limit)).all()

    def sorted(self, query: Select[Any], source: FromClause) -> Select[Any]:
        """Return a query in the order asked for."""
        keys = (source.c.at, source.c.seq)
        return query.order_by(*(key.desc() if self.order is Order.NEWEST else key.asc() for key in keys))

    def bounds(self) -> Select[str | None, str | None]:
        """Return a query for the first and the last time of the events in question, by time alone."""
        at, held = EVENTS.c.at, self.held(EVENTS, times_only=True)
        return select(
            select(at).where(*held).order_by(at).limit(1).scalar_subquery(),
            select(at).where(*held).order_by(at.desc()).limit(1).scalar_subquery(),
        )

    def held(self, source: FromClause, *, times_only: bool = False) -> list[Condition]:
        """Return what every event must hold to, but for the choices; ``times_only``: its time and place alone."""
        asked, at = self.question, source.c.at
        equal = () if times_only else _EQUAL
        found = [source.c[name] == getattr(asked, name) for name in equal if getattr(asked, name) is not None]
        if not times_only and asked.outcome not in (None, Outcome.SUCCESS.value):
            # The index of what went wrong is of that alone, and SQLite uses it only where the statement says so.
            found.append(source.c.outcome != literal_column(f"'{Outcome.SUCCESS.value}'"))
        if asked.since is not None:
            found.append(at >= moment(asked.since))
        if asked.until is not None:
            found.append(at < moment(asked.until))
        if self.after is not None:
            here = tuple_(at, source.c.seq)
            there = tuple_(literal(self.after.at), literal(self.after.seq))
            # PostgreSQL leaves out the months beyond only by the time alone.
            behind = (
                (here < there, at <= self.after.at)
                if self.order is Order.NEWEST
                else (here > there, at >= self.after.at)
            )
            found.extend(behind)
        return found

    def _laterally(self, query: Select[Any], choice: Choice, limit: int) -> Select[Any]:
        """Ask for each value by itself, planned once: no index has the order of several values together."""
        each_value = values(column("value", String), name="choice").data([(value,) for value in choice.values])
        of_value = query.where(EVENTS.c[choice.name] == each_value.c.value)
        each = self.sorted(of_value, EVENTS).limit(limit).lateral("event")
        together = select(each).select_from(each_value.join(each, true()))
        return self.sorted(together, each).limit(limit)

    def _one_by_one(self, query: Select[Any], choice: Choice, limit: int) -> Select[Any]:
        each = (
            select(self.sorted(query.where(EVENTS.c[choice.name] == value), EVENTS).limit(limit).subquery())
            for value in choice.values
        )
        together = union_all(*each).subquery()
        return self.sorted(select(together), together).limit(limit)
