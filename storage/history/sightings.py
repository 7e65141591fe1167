"""Who saw a study: everybody who read it, took it out as files, read its history, or was sent objects of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.history.selection import EVENTS


class Sight(StrEnum):
    """What of a study somebody saw or got."""

    RECORD = "record"
    PICTURE = "picture"
    EXPORT = "export"
    HISTORY = "history"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one person or peer saw, how often, and when first and last; times are those of events.

    An ``OBJECT`` was passed on: ``who`` is the destination.
    """

    who: str
    what: Sight
    times: int
    first_at: str
    last_at: str


_SIGHTS: Mapping[str, Sight] = {
    "study:read": Sight.RECORD,
    "picture:read": Sight.PICTURE,
    "export:made": Sight.EXPORT,
    "object:requested": Sight.EXPORT,
    "audit:read": Sight.HISTORY,
    "audit:queried": Sight.HISTORY,
    "delivery:sent": Sight.OBJECT,
    "study:retrieved": Sight.OBJECT,
}


def sightings(session: Session, study: str) -> tuple[Sighting, ...]:
    """Return who saw the study with this UID, in the order in which they first did."""
    query = select(EVENTS.c.at, EVENTS.c.tag, EVENTS.c.actor, EVENTS.c.details).where(
        EVENTS.c.study == study, EVENTS.c.tag.in_(_SIGHTS)
    )
    found: dict[tuple[str, Sight], Sighting] = {}
    for at, tag, actor, details in session.execute(query.order_by(EVENTS.c.at, EVENTS.c.seq)):
        what = _SIGHTS[tag]
        who = json.loads(details).get("destination", actor) if what is Sight.OBJECT else actor
        known = found.get((who, what), Sighting(who, what, 0, at, at))
        found[who, what] = Sighting(who, what, known.times + 1, known.first_at, at)
    return tuple(found.values())
