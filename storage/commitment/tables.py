"""Tables of storage commitment: what peers asked us to vouch for, and what destinations vouched for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
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


class DeliveryProofRow(Model):
    """Whether a destination vouches for an object that it took: one row for each delivery that is to be proven.

    ``transaction_uid`` is that of the request under way; ``resent`` counts how often the object was sent anew because
    the destination did not have it.
    """

    __tablename__ = "delivery_proofs"

    delivery_id: Mapped[int] = mapped_column(ForeignKey("deliveries.id"), primary_key=True, autoincrement=False)
    destination: Mapped[str] = mapped_column(String(300))
    way: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    transaction_uid: Mapped[str | None] = mapped_column(_UID, index=True)
    attempts: Mapped[int]
    resent: Mapped[int]
    next_attempt_at: Mapped[datetime]
    asked_at: Mapped[datetime | None]
    committed_at: Mapped[datetime | None]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index(None, "state", "destination", "next_attempt_at"),)
