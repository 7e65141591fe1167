"""Urgent studies and the channels that wait for them, for tests of what becomes of both."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from storage import analyses, jobs
from storage.announcing.tables import (
    AnnouncementLevel,
    AnnouncementRow,
    AnnouncementState,
    ChannelKind,
    ChannelRow,
    UrgentStudyRow,
)
from storage.database import Database
from storage.domain import Priority
from storage.objects import ObjectStore
from tests.support.records import NOW, result


def waiting_channel(database: Database, name: str, minutes: int, **values: object) -> None:
    """Put a channel on record that is told of STAT and HIGH studies once nobody opened them for some minutes."""
    known: dict[str, object] = {
        "name": name,
        "kind": ChannelKind.WEBHOOK.value,
        "address": f"https://{name}.example/",
        "priorities": "STAT,HIGH",
        "escalation_minutes": minutes,
        "patient_data": False,
        "private_network": False,
        "options": "{}",
        "group_seconds": 0,
        "paused": False,
        "added_by": "test",
        "added_at": NOW,
        "changed_at": NOW,
    }
    with database.write() as session:
        session.add(ChannelRow(**(known | values)))


def analyse(
    database: Database, objects: ObjectStore, job_id: int, *, now: datetime, priority: Priority = Priority.STAT
) -> None:
    """Have a job end at a moment with a result of a priority."""
    with database.write() as session:
        held = jobs.claim(session, job_id, owner="worker-1", lease_seconds=60, now=now)
        assert held is not None
        analyses.save(session, held, result(objects, priority=priority), grid_digest="g", now=now)


def announce_escalation(session: Session, row: UrgentStudyRow, channel: str, *, now: datetime) -> None:
    """Put the announcement of an escalation on its way, as the gateway does."""
    session.add(
        AnnouncementRow(
            key=f"{row.id}-{channel}",
            fact=f"{row.id}",
            reached=False,
            channel=channel,
            study_id=row.study_id,
            revision=row.revision,
            job_id=row.job_id,
            level=AnnouncementLevel.ESCALATION.value,
            priority=row.priority,
            opened_at=now,
            state=AnnouncementState.PENDING.value,
            attempts=0,
            next_attempt_at=now,
        )
    )
