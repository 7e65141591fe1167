"""Tables of retention: which files analyses rest on, what was deleted, what people keep, and whose turn it is."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_SHA = String(64)
_UNMEASURED = text("size_bytes IS NULL")


class AnalysisFileRow(Model):
    """One file of the object store that an analysis refers to: its grid, its maps and its pictures.

    ``size_bytes`` is None until somebody has looked at the file; ``deleted_at`` is when retention deleted it.
    """

    __tablename__ = "analysis_files"

    job_id: Mapped[int] = mapped_column(ForeignKey("analyses.job_id"), primary_key=True)
    digest: Mapped[str] = mapped_column(_SHA, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        Index(None, "digest"),
        Index("ix_analysis_files_unmeasured", "job_id", sqlite_where=_UNMEASURED, postgresql_where=_UNMEASURED),
    )


class StudyDeletionRow(Model):
    """What was deleted of a study at one time: one kind of file, by which rule, how many and how large."""

    __tablename__ = "study_deletions"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    rule: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(96))
    files: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    deleted_at: Mapped[datetime] = mapped_column(index=True)


class DiscardedObjectRow(Model):
    """A file whose rows say that it is deleted and that may still lie in the object store; an outbox.

    It goes at ``not_before`` or later, unless another row refers to it by then.
    """

    __tablename__ = "discarded_objects"

    digest: Mapped[str] = mapped_column(_SHA, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    not_before: Mapped[datetime] = mapped_column(index=True)


class KeptStudyRow(Model):
    """A study that a person keeps: no rule deletes anything of it."""

    __tablename__ = "kept_studies"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True, autoincrement=False)
    kept_by: Mapped[str] = mapped_column(String(96))
    reason: Mapped[str] = mapped_column(Text)
    kept_at: Mapped[datetime]


class RetentionTurnRow(Model):
    """Whose turn it is to delete; the table has one row. ``ran_at`` is when a round last ended."""

    __tablename__ = "retention_turns"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    lease_owner: Mapped[str | None] = mapped_column(String(96))
    lease_expires_at: Mapped[datetime | None]
    ran_at: Mapped[datetime | None]
