"""Tables of the triage policies: their files, and what those on trial would have said."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_SHA = String(64)
_LIVE = text("state = 'live'")


class PolicyState(StrEnum):
    """Whether a policy decides, is tried beside the one that does, or neither.

    CONFIGURED: the file of the settings, which decides while none is LIVE.
    """

    LIVE = "live"
    SHADOW = "shadow"
    CONFIGURED = "configured"
    RETIRED = "retired"


class TriagePolicyRow(Model):
    """One policy's file, by its digest, so that every decision can be traced to the very text that made it.

    ``reason`` is what somebody said when it was last promoted, put on trial or retired. At most one is live; with
    none, the file of the settings decides.
    """

    __tablename__ = "triage_policies"

    sha256: Mapped[str] = mapped_column(_SHA, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    content: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    changed_by: Mapped[str] = mapped_column(String(96))
    added_at: Mapped[datetime]
    changed_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_triage_policies_live", "state", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),
    )


class ShadowDecisionRow(Model):
    """What a policy on trial said of one analysis, from the inputs that the analysis keeps."""

    __tablename__ = "shadow_decisions"

    job_id: Mapped[int] = mapped_column(ForeignKey("analyses.job_id"), primary_key=True)
    policy_sha256: Mapped[str] = mapped_column(_SHA, primary_key=True)
    priority: Mapped[str] = mapped_column(String(16))
    rule: Mapped[str] = mapped_column(String(64))
    decided_at: Mapped[datetime]

    __table_args__ = (Index(None, "policy_sha256", "decided_at"),)
