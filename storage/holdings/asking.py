"""A question for what is held is on record: who asked, at which level, by how many keys, and how much was answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from storage import audit
from storage.holdings.question import Level


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it is on record; of its keys only how many they were, for their values are patient data."""

    level: Level
    keys: int
    answers: int


def record(session: Session, asked: Asked, *, actor: str, now: datetime) -> None:
    """Write the event of a question."""
    details: dict[str, audit.Detail] = {"level": asked.level.value, "keys": asked.keys, "answers": asked.answers}
    audit.record(session, "holdings:queried", "holdings", actor=actor, now=now, details=details)
