"""Tables of the peers that send to us: who may, who was turned away, and what each used."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_CODE = String(64)
_AET = String(16)


class PeerRow(Model):
    """One peer that may open associations, or that is kept out; columns that are None are not asked of it.

    ``services`` and ``sop_classes`` are lists with commas.
    """

    __tablename__ = "peers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    calling_aet: Mapped[str] = mapped_column(_AET, index=True)
    called_aet: Mapped[str | None] = mapped_column(_AET)
    network: Mapped[str | None] = mapped_column(String(64))
    certificate_name: Mapped[str | None] = mapped_column(String(255))
    services: Mapped[str] = mapped_column(String(64))
    sop_classes: Mapped[str | None] = mapped_column(Text)
    lane: Mapped[str] = mapped_column(String(16))
    associations_per_hour: Mapped[int | None]
    images_per_hour: Mapped[int | None]
    megabytes_per_hour: Mapped[int | None]
    query_address: Mapped[str | None] = mapped_column(String(300))
    store_address: Mapped[str | None] = mapped_column(String(300))
    care_setting: Mapped[str | None] = mapped_column(String(16))
    allowed: Mapped[bool]
    added_by: Mapped[str] = mapped_column(String(96))
    added_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    last_seen_at: Mapped[datetime | None]


class RefusedPeerRow(Model):
    """One caller that was turned away; ``recorded_at`` is when its last event was written."""

    __tablename__ = "refused_peers"

    id: Mapped[int] = mapped_column(primary_key=True)
    calling_aet: Mapped[str] = mapped_column(_AET)
    called_aet: Mapped[str] = mapped_column(_AET)
    address: Mapped[str] = mapped_column(String(64))
    code: Mapped[str] = mapped_column(_CODE)
    count: Mapped[int] = mapped_column(BigInteger)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]
    recorded_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("calling_aet", "called_aet", "address"),
        Index(None, "address", "last_at"),
        Index(None, "last_at"),
        # People let callers in by their number: it must never come to mean somebody else.
        {"sqlite_autoincrement": True},
    )


class PeerUsageRow(Model):
    """What one peer used in one hour of the clock, which began at ``hour``."""

    __tablename__ = "peer_usage"

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    associations: Mapped[int] = mapped_column(BigInteger)
    images: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
