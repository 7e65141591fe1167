"""Channels, and results that they are told of, written through the functions that gateway and worker use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select

from storage import analyses, arrays, audit, jobs
from storage.announcing import announcement_lists, announcements, channels, claims
from storage.announcing.announcement_lists import ListedAnnouncement
from storage.announcing.announcements import Failure
from storage.announcing.channels import ChannelEntry
from storage.announcing.claims import Claim
from storage.announcing.tables import AnnouncementRow, ChannelKind, UrgentStudyRow
from storage.backoff import no_jitter
from storage.database import Database
from storage.domain import Priority
from storage.models import JobRow
from storage.objects import ObjectStore
from tests.support.records import NOW, result

CHANNEL = "desk"
LEASE_SECONDS = 60.0


def add_channel(
    database: Database, name: str = CHANNEL, kind: ChannelKind = ChannelKind.WEBHOOK, **columns: Any
) -> ChannelEntry:
    """Record a channel that is told of STAT and HIGH, but for what ``columns`` say."""
    address = columns.pop("address", "https://receiver.example/hook")
    entry = ChannelEntry(name, kind, address, **columns)
    with database.write() as session:
        channels.add(session, entry, actor="op", now=NOW)
    return entry


def analyse(
    database: Database,
    objects: ObjectStore,
    job_id: int,
    priority: Priority,
    *,
    withheld: str | None = None,
    inputs: str | None = None,
    now: datetime = NOW,
) -> None:
    """Record a result of a job with a priority; a job that has one is tried again.

    ``inputs`` is what the policy looked at, as text.
    """
    analysis = replace(result(objects, priority=priority), withheld=withheld)
    if inputs is not None:
        analysis = replace(analysis, decision=replace(analysis.decision, inputs=inputs))
    grid = arrays.save_grid(objects, analysis.frames, analysis.label_map)
    with database.write() as session:
        if session.scalars(select(JobRow.state).where(JobRow.id == job_id)).one() == "succeeded":
            jobs.retry(session, job_id, actor="op", now=now)
    with database.write() as session:
        held = jobs.claim(session, job_id, owner="worker-1", lease_seconds=60, now=now)
        assert held is not None
        analyses.save(session, held, analysis, grid_digest=grid, now=now)


def take(database: Database, name: str = CHANNEL, *, owner: str = "gateway-1/1", now: datetime = NOW) -> Claim | None:
    """Claim the next message of a channel."""
    with database.write() as session:
        return claims.claim(session, name, owner=owner, lease_seconds=LEASE_SECONDS, now=now)


def taken(database: Database, name: str = CHANNEL, *, owner: str = "gateway-1/1", now: datetime = NOW) -> Claim:
    """Claim the next message of a channel that there is."""
    claim = take(database, name, owner=owner, now=now)
    assert claim is not None
    return claim


def tell(database: Database, name: str = CHANNEL, *, now: datetime = NOW) -> Claim:
    """Have a channel take its next message."""
    claim = taken(database, name, now=now)
    with database.write() as session:
        announcements.sent(session, claim, now=now)
    return claim


def fail(database: Database, claim: Claim, *, reached: bool, code: str = "http_503", now: datetime = NOW) -> None:
    """Have a message not get through."""
    with database.write() as session:
        announcements.failed(session, claim, Failure(code, "why", reached), draw=no_jitter, now=now)


def outbox(database: Database, name: str = CHANNEL) -> Sequence[ListedAnnouncement]:
    """Return the announcements to a channel, oldest first."""
    with database.read() as session:
        return announcement_lists.listed(session, channel=name)[::-1]


def told(database: Database, name: str = CHANNEL) -> list[tuple[str, str, str | None, str | None]]:
    """Return level, state, priority and previous priority of the announcements to a channel, oldest first."""
    return [(one.level, one.state, one.priority, one.previous) for one in outbox(database, name)]


def events(database: Database, verb: str) -> int:
    """Return how many events of the announcements have a verb."""
    with database.read() as session:
        return len(audit.history(session, tag=f"announcement:{verb}", limit=1000))


def urgent_study(database: Database) -> UrgentStudyRow:
    """Return the one urgent study."""
    with database.read() as session:
        row = session.scalars(select(UrgentStudyRow)).one()
        session.expunge(row)
        return row


def keys(database: Database) -> list[str]:
    """Return the keys of all announcements, oldest first."""
    with database.read() as session:
        return list(session.scalars(select(AnnouncementRow.key).order_by(AnnouncementRow.id)))
