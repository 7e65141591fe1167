"""The table of storage commitment: what peers asked us to vouch for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_UID = String(64)
_CODE = String(64)


class CommitmentRequestRow(Model):
    """One request of a peer that we vouch for instances (N-ACTION), until the peer has taken our report.

    ``items`` is JSON: SOP class and instance UID of each; ``failures`` the same of those that we do not vouch for, each
    with its Failure Reason, None until it is judged. ``peer`` is the name of the entry.
    """

    __tablename__ = "commitment_requests"

    id: Mapped[int] = mapped_column(primary_key=True)
    transaction_uid: Mapped[str] = mapped_column(_UID)
    peer: Mapped[str] = mapped_column(String(32))
    calling_aet: Mapped[str] = mapped_column(String(16))
    items: Mapped[str] = mapped_column(Text)
    failures: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime]
    asked_at: Mapped[datetime]
    judged_at: Mapped[datetime | None]
    reported_at: Mapped[datetime | None]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (UniqueConstraint("peer", "transaction_uid"), Index(None, "state", "next_attempt_at"))
