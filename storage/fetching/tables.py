"""Tables of sources that are asked for studies, and of each study on its way from one."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_UID = String(64)
_CODE = String(64)


class FetchSourceRow(Model):
    """One source: where it answers, how its studies come, which of them are wanted, and how often it is asked.

    ``filter`` is JSON: query keys by keyword. ``hours`` is FROM-UNTIL of the day in UTC, None for any; a source without
    ``every_seconds`` is asked only when somebody says so. ``priors_after`` is our number of the last study whose priors
    it was asked for.
    """

    __tablename__ = "fetch_sources"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    address: Mapped[str] = mapped_column(String(300))
    way: Mapped[str] = mapped_column(String(16))
    filter: Mapped[str] = mapped_column(Text)
    every_seconds: Mapped[int | None]
    settle_seconds: Mapped[int]
    hours: Mapped[str | None] = mapped_column(String(16))
    studies_per_hour: Mapped[int | None]
    priors: Mapped[int | None]
    priors_after: Mapped[int]
    lane: Mapped[str] = mapped_column(String(16))
    credentials: Mapped[str | None] = mapped_column(Text)
    paused: Mapped[bool]
    added_by: Mapped[str] = mapped_column(String(96))
    added_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    asked_at: Mapped[datetime | None]
    next_ask_at: Mapped[datetime | None]
    failures: Mapped[int]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)


class FetchedStudyRow(Model):
    """One study that a source holds and that is wanted, until it is here.

    ``stated`` is how many instances the source said to hold in its list; ``instances`` how many it counted when asked
    for the study, without those that oncue wrote, since ``counted_at``; ``fetched_instances`` how many of them it was
    when the study last came, so that the same revision is never fetched twice. ``asked_by`` is who wanted it.
    """

    __tablename__ = "fetched_studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(String(32))
    study_instance_uid: Mapped[str] = mapped_column(_UID)
    state: Mapped[str] = mapped_column(String(16))
    is_prior: Mapped[bool]
    stated: Mapped[int | None]
    instances: Mapped[int | None]
    counted_at: Mapped[datetime]
    fetched_instances: Mapped[int | None]
    fetched_at: Mapped[datetime | None]
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime]
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_expires_at: Mapped[datetime | None]
    asked_by: Mapped[str] = mapped_column(String(96))
    opened_at: Mapped[datetime]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("source", "study_instance_uid"),
        Index(None, "state", "next_attempt_at"),
        Index(None, "source", "fetched_at"),
    )
