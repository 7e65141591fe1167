"""Tables of the audit trail: the events, and the log that proves them whole."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, String, Text, column
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_UID = String(64)
_SHA = String(64)
_BIG = BigInteger().with_variant(Integer, "sqlite")
# Times as text are compared by their bytes, whatever the language of the database.
_TIME = String(32).with_variant(String(32, collation="C"), "postgresql")


class AuditEventRow(Model):
    """One event. Rows are only ever added: a trigger refuses everything else, and notes each new one as unsealed.

    PostgreSQL keeps a partition for each month of ``at``. ``previous_hash`` and ``hash`` are those of the chain that
    events before revision 0008 were linked in, and empty since.
    """

    __tablename__ = "audit_events"

    seq: Mapped[int] = mapped_column(_BIG, primary_key=True)
    at: Mapped[str] = mapped_column(_TIME)
    tag: Mapped[str] = mapped_column(String(48))
    subject: Mapped[str] = mapped_column(String(160))
    actor: Mapped[str] = mapped_column(String(96))
    outcome: Mapped[str] = mapped_column(String(16))
    study: Mapped[str | None] = mapped_column(_UID)
    series: Mapped[str | None] = mapped_column(_UID)
    patient_key: Mapped[str | None] = mapped_column(String(32))
    route: Mapped[str | None] = mapped_column(String(64))
    model: Mapped[str | None] = mapped_column(String(64))
    weights: Mapped[str | None] = mapped_column(_SHA)
    details: Mapped[str] = mapped_column(Text)
    previous_hash: Mapped[str] = mapped_column(_SHA)
    hash: Mapped[str] = mapped_column(_SHA)

    __table_args__ = (
        Index(None, "at", "seq"),
        Index(None, "tag", "at", "seq"),
        Index(None, "subject", "at", "seq"),
        Index(None, "actor", "at", "seq"),
        *(
            Index(
                None,
                name,
                "at",
                "seq",
                postgresql_where=column(name).is_not(None),
                sqlite_where=column(name).is_not(None),
            )
            for name in ("study", "series", "patient_key", "route", "model", "weights")
        ),
        Index(
            None,
            "outcome",
            "at",
            "seq",
            postgresql_where=column("outcome") != "success",
            sqlite_where=column("outcome") != "success",
        ),
    )


class AuditPendingRow(Model):
    """An event that is committed and not sealed yet; the database itself notes it."""

    __tablename__ = "audit_pending"

    seq: Mapped[int] = mapped_column(_BIG, primary_key=True, autoincrement=False)


class AuditLeafRow(Model):
    """Which event is which leaf of the tree; leaves are numbered from 0, without gaps, in the order of sealing."""

    __tablename__ = "audit_leaves"

    number: Mapped[int] = mapped_column(_BIG, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(_BIG, unique=True)


class AuditTileRow(Model):
    """Up to 256 hashes of 32 bytes, side by side, of the subtrees of one level; the last of each level still grows."""

    __tablename__ = "audit_tiles"

    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(_BIG, primary_key=True, autoincrement=False)
    hashes: Mapped[bytes] = mapped_column(LargeBinary)


class AuditCheckpointRow(Model):
    """A signed statement: the tree of the first ``size`` leaves has this root."""

    __tablename__ = "audit_checkpoints"

    size: Mapped[int] = mapped_column(_BIG, primary_key=True, autoincrement=False)
    root: Mapped[str] = mapped_column(_SHA)
    note: Mapped[str] = mapped_column(Text)
    made_at: Mapped[datetime]


class AuditCountRow(Model):
    """How many sealed events of one tag, or of one actor, a day has."""

    __tablename__ = "audit_counts"

    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    name: Mapped[str] = mapped_column(String(96), primary_key=True)
    count: Mapped[int] = mapped_column(_BIG)


class AuditArchiveRow(Model):
    """A month of events that left the database for an archive; its leaves are proved by their hashes alone.

    ``leaves`` are runs of leaf numbers, first and last of each: ``0-1023 1025-1030``. ``sha256`` is the archive's.
    """

    __tablename__ = "audit_archives"

    month: Mapped[str] = mapped_column(String(7), primary_key=True)
    events: Mapped[int] = mapped_column(_BIG)
    leaves: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(_SHA)
    archived_at: Mapped[datetime]
    dropped_at: Mapped[datetime | None]


class AuditLogRow(Model):
    """The log itself, one row: how many leaves are sealed, who seals, and what patient keys are made with."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    salt: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(_BIG)
    lease_owner: Mapped[str | None] = mapped_column(String(96))
    lease_expires_at: Mapped[datetime | None]
