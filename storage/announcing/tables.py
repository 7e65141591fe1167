"""Tables of what leaves by channels other than DICOM: the channels, the announcements, and the urgent studies."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_SHA = String(64)
_CODE = String(64)
_ESCALATES = text("escalate_at IS NOT NULL")


class ChannelKind(StrEnum):
    """How an announcement is brought to a receiver."""

    HL7 = "hl7"
    FHIR = "fhir"
    WEBHOOK = "webhook"
    MAIL = "mail"


class AnnouncementLevel(StrEnum):
    """Why an announcement is made.

    FIRST: a result gave the study its priority. CHANGE: a later one gave it another, or took it away. ESCALATION:
    nobody opened the study in time.
    """

    FIRST = "first"
    CHANGE = "change"
    ESCALATION = "escalation"


class AnnouncementState(StrEnum):
    """Where one announcement stands.

    SENT: the receiver acknowledged it. REFUSED: it never will. SUPERSEDED: a later result came first. CALLED_OFF: a
    person ended it, or the study was opened before it was due.
    """

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    REFUSED = "refused"
    SUPERSEDED = "superseded"
    CALLED_OFF = "called_off"


class OpenedThrough(StrEnum):
    """How a person came to see an urgent study. PROGRAM: a program that shows studies said that somebody did."""

    CONSOLE = "console"
    PROGRAM = "program"
    MARK = "mark"
    WORKITEM = "workitem"


class ChannelRow(Model):
    """One receiver of announcements. Columns that are None are no limit.

    ``priorities`` and ``routes`` are lists with commas; ``escalation_minutes`` is how long a study may lie unopened
    before this channel is told, None where it is told at once. ``credentials`` is the path of a file. ``options`` is
    JSON, by kind. ``group_seconds`` is how long announcements are collected into one message.
    """

    __tablename__ = "channels"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(300))
    priorities: Mapped[str] = mapped_column(String(64))
    routes: Mapped[str | None] = mapped_column(Text)
    escalation_minutes: Mapped[int | None]
    patient_data: Mapped[bool]
    private_network: Mapped[bool]
    credentials: Mapped[str | None] = mapped_column(Text)
    options: Mapped[str] = mapped_column(Text)
    group_seconds: Mapped[int]
    per_hour: Mapped[int | None]
    paused: Mapped[bool]
    added_by: Mapped[str] = mapped_column(String(96))
    added_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class AnnouncementRow(Model):
    """One fact on its way to one channel; an outbox. ``key`` tells the fact and the channel from every other.

    ``job_id`` is of the result that leads, None where the priority was taken away. ``previous`` is the priority that
    the channel was told before. ``fact`` digests what is told, whoever is told it. ``group_key`` ties those that left
    in one message, so that a repeat is the same one. ``reached`` says that the receiver may have got it, also where
    nobody knows that it did. ``patient_key`` stands for the patient whom it concerns: of a priority that is taken away,
    the one whom the receiver was told of.
    """

    __tablename__ = "announcements"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(_SHA, unique=True)
    fact: Mapped[str] = mapped_column(_SHA)
    channel: Mapped[str] = mapped_column(String(32))
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    patient_key: Mapped[str | None] = mapped_column(String(32))
    revision: Mapped[int]
    job_id: Mapped[int | None] = mapped_column(ForeignKey("analyses.job_id"))
    level: Mapped[str] = mapped_column(String(16))
    priority: Mapped[str | None] = mapped_column(String(16))
    previous: Mapped[str | None] = mapped_column(String(16))
    opened_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime]
    group_key: Mapped[str | None] = mapped_column(_SHA)
    reached: Mapped[bool]
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_expires_at: Mapped[datetime | None]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)
    announced_at: Mapped[datetime | None]

    __table_args__ = (
        Index(None, "state", "channel", "next_attempt_at"),
        Index(None, "channel", "announced_at"),
    )


class UrgentStudyRow(Model):
    """One time that a result made a study urgent, and what became of it: announced, opened, escalated, ended.

    ``arrived_at`` is when the last image of the revision came. ``waiting_since`` is when the study became urgent
    without anybody having opened it since; escalations count from it. ``announced_by`` is the channel that was first to
    take it. ``escalate_at`` is when the next channel is due, None where none is. ``ended_at`` is when a later result
    took the priority away or gave another. At most one row of a study has not ended.
    """

    __tablename__ = "urgent_studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    job_id: Mapped[int] = mapped_column(ForeignKey("analyses.job_id"))
    revision: Mapped[int]
    route: Mapped[str] = mapped_column(String(32))
    priority: Mapped[str] = mapped_column(String(16))
    arrived_at: Mapped[datetime]
    analysed_at: Mapped[datetime]
    waiting_since: Mapped[datetime]
    announced_at: Mapped[datetime | None]
    announced_by: Mapped[str | None] = mapped_column(String(32))
    opened_at: Mapped[datetime | None]
    opened_by: Mapped[str | None] = mapped_column(String(96))
    opened_through: Mapped[str | None] = mapped_column(String(16))
    escalate_at: Mapped[datetime | None]
    escalations: Mapped[int]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("study_id", "job_id", "analysed_at"),
        Index("ix_urgent_studies_escalate_at", "escalate_at", sqlite_where=_ESCALATES, postgresql_where=_ESCALATES),
        Index(None, "opened_at", "ended_at", "waiting_since"),
        Index(None, "analysed_at"),
    )
