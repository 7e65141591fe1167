"""What destinations said that they take, kept for a day: which SOP classes, and in which transfer syntaxes."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage import audit
from storage.delivery_tables import DestinationNegotiationRow
from storage.new_rows import add_if_new

_HOLDS_FOR = timedelta(days=1)
_ASKED_AGAIN_AFTER = timedelta(minutes=1)
_ACTOR = "delivery"


@dataclass(frozen=True, slots=True)
class Negotiation:
    """What one destination takes: transfer syntaxes by SOP class, none for a class that it does not take.

    A class that is not there is one of which nothing is known. ``code`` says why a destination did not answer: what it
    said before still stands then.
    """

    destination: str
    taken: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    code: str | None = None
    asked_at: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether the destination is to be asked again: after a day, or after a minute where it did not answer.

        One that takes nothing at all is asked as one that does not answer: more likely it is set up wrongly.
        """
        if self.asked_at is None:
            return True
        takes_nothing = bool(self.taken) and not any(self.taken.values())
        is_settled = self.code is None and not takes_nothing
        return now - self.asked_at >= (_HOLDS_FOR if is_settled else _ASKED_AGAIN_AFTER)


def all_known(session: Session) -> Mapping[str, Negotiation]:
    """Return what is known of every destination that was asked, by its name."""
    return {row.destination: _negotiation(row) for row in session.scalars(select(DestinationNegotiationRow))}


def find(session: Session, destination: str) -> Negotiation:
    """Return what is known of a destination; nothing is where it was never asked."""
    row = session.get(DestinationNegotiationRow, destination)
    return Negotiation(destination) if row is None else _negotiation(row)


def answered(session: Session, destination: str, taken: Mapping[str, tuple[str, ...]], *, now: datetime) -> None:
    """Record what a destination says that it takes; an event where that is not what it said before."""
    _record_taken(session, _row(session, destination, now=now), taken, now=now)


def unanswered(session: Session, destination: str, *, code: str, now: datetime) -> None:
    """Record that a destination could not be asked; what it said before still stands."""
    row = _row(session, destination, now=now)
    row.code, row.asked_at = code, now


def refused(session: Session, destination: str, sop_class_uids: Collection[str], *, now: datetime) -> None:
    """Record that a destination did not take objects of some SOP classes, whatever it said of them before."""
    row = _row(session, destination, now=now)
    taken = {**_negotiation(row).taken, **dict.fromkeys(sop_class_uids, ())}
    _record_taken(session, row, taken, now=now)


def forget(session: Session, destination: str) -> None:
    """Forget what a destination takes: it is asked anew before it is written for."""
    session.execute(delete(DestinationNegotiationRow).where(DestinationNegotiationRow.destination == destination))


def _record_taken(
    session: Session, row: DestinationNegotiationRow, taken: Mapping[str, tuple[str, ...]], *, now: datetime
) -> None:
    text = json.dumps({uid: list(syntaxes) for uid, syntaxes in taken.items()}, sort_keys=True)
    is_news = text != row.taken
    row.taken, row.code, row.asked_at = text, None, now
    if not is_news:
        return
    details: dict[str, audit.Detail] = {
        "destination": row.destination,
        "taken": ",".join(sorted(uid for uid, syntaxes in taken.items() if syntaxes)),
        "refused": ",".join(sorted(uid for uid, syntaxes in taken.items() if not syntaxes)),
    }
    subject = f"destination/{row.destination}"
    audit.record(session, "destination:negotiated", subject, actor=_ACTOR, now=now, details=details)


def _row(session: Session, destination: str, *, now: datetime) -> DestinationNegotiationRow:
    """Return the row of a destination, locked, made where there is none yet."""
    new = {"destination": destination, "taken": "{}", "code": None, "asked_at": now}
    add_if_new(session, DestinationNegotiationRow, new)
    return session.get_one(DestinationNegotiationRow, destination, with_for_update=True, populate_existing=True)


def _negotiation(row: DestinationNegotiationRow) -> Negotiation:
    taken = {uid: tuple(syntaxes) for uid, syntaxes in json.loads(row.taken).items()}
    return Negotiation(row.destination, taken, row.code, row.asked_at)
