"""Entries that people call by name and may hold back for a while: how their rows are found, taken and paused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit
from storage.errors import RecordMissing


class NamedRow(Protocol):
    """A row with the name that people gave it."""

    name: str
    paused: bool
    changed_at: datetime


Row = TypeVar("Row", bound=NamedRow)


@dataclass(frozen=True, slots=True)
class EntryKind(Generic[Row]):
    """One kind of entry. ``noun`` begins its events, ``called`` and ``list_command`` are for people."""

    row: type[Row]
    noun: str
    called: str
    list_command: str

    def subject(self, name: str) -> str:
        """Return what events of an entry are about."""
        return f"{self.noun}/{name}"

    def find(self, session: Session, name: str) -> Row | None:
        """Return the row of a name, None where there is none."""
        return session.scalars(select(self.row).filter_by(name=name)).one_or_none()

    def taken(self, session: Session, name: str) -> Row | None:
        """Return the row of a name as it is now, which nobody else changes until the transaction ends."""
        query = select(self.row).filter_by(name=name).with_for_update()
        return session.scalars(query.execution_options(populate_existing=True)).one_or_none()

    def required(self, session: Session, name: str) -> Row:
        """Return the same; RecordMissing where there is none."""
        row = self.taken(session, name)
        if row is None:
            raise self.missing(name)
        return row

    def missing(self, name: str) -> RecordMissing:
        """Return the error for a name that no entry has."""
        return RecordMissing(f"there is no {self.called} {name}; `{self.list_command}` shows those that there are")

    def set_paused(self, session: Session, name: str, *, paused: bool, actor: str, now: datetime) -> Row | None:
        """Hold an entry back or let it go on, and return its row; None where nothing changes. RecordMissing."""
        row = self.required(session, name)
        if row.paused == paused:
            return None
        row.paused, row.changed_at = paused, now
        session.flush()
        tag = f"{self.noun}:paused" if paused else f"{self.noun}:resumed"
        audit.record(session, tag, self.subject(name), actor=actor, now=now)
        return row
