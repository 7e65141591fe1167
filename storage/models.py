"""Tables: columns and constraints only. Every change of state goes through the module that owns it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_UID = String(64)
_SHA = String(64)
_CODE = String(64)
_AET = String(16)
_BIG = BigInteger().with_variant(Integer, "sqlite")


_READING_ORDER = ("rank", "minus_confidence", "arrived_at", "study_id")


def where_all(*flags: str) -> dict[str, Any]:
    """Return the options of an index of the rows with some flags, its condition as either database writes queries."""
    return {
        "sqlite_where": text(" AND ".join(f"{flag} = 1" for flag in flags)),
        "postgresql_where": text(" AND ".join(flags)),
    }


class UtcTime(TypeDecorator[datetime]):
    """A timezone-aware time in UTC; SQLite, which keeps no zone, gets it back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: a guess about the zone would be wrong somewhere."""
        del dialect
        if value is not None and value.tzinfo is None:
            raise ValueError("times in the database carry a zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time with its zone."""
        del dialect
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Model(DeclarativeBase):
    """Root of the tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcTime}  # noqa: RUF012 - SQLAlchemy reads it as a class attribute


class ProcessRow(Model):
    """One running process of oncue; ``seen_at`` says that it did its work then, not only that it existed.

    ``serves`` is JSON: pool and analysers of a worker, None for other processes.
    """

    __tablename__ = "processes"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    stopped_at: Mapped[datetime | None]
    serves: Mapped[str | None] = mapped_column(Text)


class StudyRow(Model):
    """One study. ``closed_at`` is None while the current revision is still arriving."""

    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(_UID, unique=True)
    revision: Mapped[int]
    lane: Mapped[str] = mapped_column(String(16))
    opened_at: Mapped[datetime]
    last_instance_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    patient_id: Mapped[str] = mapped_column(String(64))
    patient_key: Mapped[str | None] = mapped_column(String(32))
    accession_number: Mapped[str] = mapped_column(String(16))
    study_date: Mapped[str] = mapped_column(String(8))
    study_description: Mapped[str] = mapped_column(String(64))

    __table_args__ = (
        Index(None, "closed_at", "last_instance_at"),
        Index(None, "patient_id"),
        Index(None, "accession_number"),
    )


class StandingRow(Model):
    """Where a study stands, as the lists order it: what ``storage.standing`` worked out of its jobs and results.

    ``arrived_at`` is that of the study's last image once the study is complete, and behind it while it arrives.
    ``minus_confidence`` is the negated confidence of the leading result, so that one index holds the reading order.
    ``instances`` counts the current ones while the study is complete. ``read_at`` to ``read_results`` are the mark that
    somebody set, and hold what was read; ``unread`` and ``waiting`` say which lists the study is on. ``keeps_images``
    to ``keeps_pictures`` say of which kinds files are kept, and ``image_bytes`` how large the images are together.
    """

    __tablename__ = "standings"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(String(16))
    rank: Mapped[int]
    minus_confidence: Mapped[float] = mapped_column(Float)
    arrived_at: Mapped[datetime]
    leading_job_id: Mapped[int | None]
    instances: Mapped[int]
    complete: Mapped[bool]
    analysed: Mapped[bool]
    waiting: Mapped[bool]
    unread: Mapped[bool]
    read_at: Mapped[datetime | None]
    read_by: Mapped[str | None] = mapped_column(String(96))
    read_rank: Mapped[int | None]
    read_results: Mapped[str | None] = mapped_column(Text)
    image_bytes: Mapped[int] = mapped_column(BigInteger)
    keeps_images: Mapped[bool]
    keeps_results: Mapped[bool]
    keeps_pictures: Mapped[bool]

    __table_args__ = (
        Index("ix_standings_arrived", "arrived_at", "study_id", **where_all("complete")),
        Index("ix_standings_rank", "rank", "arrived_at", "study_id", **where_all("complete")),
        Index("ix_standings_waiting", "arrived_at", "study_id", **where_all("waiting", "complete")),
        Index("ix_standings_unread", *_READING_ORDER, **where_all("unread", "complete")),
        Index("ix_standings_analysed", *_READING_ORDER, **where_all("analysed", "complete")),
        Index("ix_standings_state", "state", "arrived_at", "study_id"),
        *(
            Index(f"ix_standings_{flag}", "state", "rank", "arrived_at", "study_id", **where_all(flag))
            for flag in ("keeps_images", "keeps_results", "keeps_pictures")
        ),
    )


class InstanceRow(Model):
    """One received instance. ``current`` is False where the same UID arrived later with other content.

    ``deleted_at`` is when retention deleted its file, None while that is kept.
    """

    __tablename__ = "instances"

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    revision: Mapped[int]
    series_instance_uid: Mapped[str] = mapped_column(_UID)
    sop_instance_uid: Mapped[str] = mapped_column(_UID)
    sop_class_uid: Mapped[str] = mapped_column(_UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(_UID)
    modality: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(_SHA)
    content_sha256: Mapped[str] = mapped_column(_SHA)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    calling_aet: Mapped[str] = mapped_column(_AET)
    received_at: Mapped[datetime]
    current: Mapped[bool]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("study_id", "sop_instance_uid", "content_sha256"),)


class JobRow(Model):
    """One route's analysis of one revision. The committed row is the outbox: ``published_at`` is None until it is sent.

    ``wanted`` is JSON: the Series Instance UIDs that the route reads; ``wanted_sha256`` digests their images.
    """

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    revision: Mapped[int]
    route: Mapped[str] = mapped_column(String(32))
    routes_sha256: Mapped[str | None] = mapped_column(_SHA)
    pool: Mapped[str] = mapped_column(String(32))
    analyser: Mapped[str] = mapped_column(String(64))
    task: Mapped[str | None] = mapped_column(String(64))
    wanted: Mapped[str] = mapped_column(Text)
    wanted_sha256: Mapped[str] = mapped_column(_SHA)
    state: Mapped[str] = mapped_column(String(16))
    lane: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    token: Mapped[int]
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_expires_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    opened_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("study_id", "revision", "route"),
        Index(None, "state", "published_at"),
        Index(None, "state", "id"),
    )
