"""Tables of the way out: destinations, what they take, each object on its way to one, and the proof that it is kept."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_UID = String(64)
_CODE = String(64)


class DeliveryRow(Model):
    """One object on its way to one destination: the name of an entry, or ``AET@HOST:PORT`` of a setting.

    ``rank`` is that of the study's priority when it was put on its way: the lowest goes first.
    """

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    object_id: Mapped[int] = mapped_column(ForeignKey("result_objects.id"))
    destination: Mapped[str] = mapped_column(String(300))
    rank: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime]
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_expires_at: Mapped[datetime | None]
    status: Mapped[int | None]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)
    sent_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("object_id", "destination"),
        Index(None, "state", "id"),
        Index(None, "state", "destination", "rank", "next_attempt_at", "id"),
    )


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


class DestinationRow(Model):
    """One receiver of results. Columns that are None are not asked of what is sent there, or are no limit.

    ``forms``, ``routes``, ``priorities`` and ``transfer_syntaxes`` are lists with commas; ``credentials`` is the path
    of a file. ``proof`` is how it shows that it keeps what it took; ``proof_address`` is where it is asked, None for
    its own. ``series_number_base``, ``series_description`` and ``character_set`` are how its objects are written.
    """

    __tablename__ = "destinations"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    address: Mapped[str] = mapped_column(String(300))
    forms: Mapped[str] = mapped_column(Text)
    routes: Mapped[str | None] = mapped_column(Text)
    priorities: Mapped[str | None] = mapped_column(String(64))
    transfer_syntaxes: Mapped[str | None] = mapped_column(Text)
    series_number_base: Mapped[int | None]
    series_description: Mapped[str | None] = mapped_column(String(64))
    character_set: Mapped[str | None] = mapped_column(String(64))
    keeps_segmentations: Mapped[bool]
    shows_priority: Mapped[bool]
    rejection_notes: Mapped[bool]
    unanalysed: Mapped[str] = mapped_column(String(16))
    proof: Mapped[str] = mapped_column(String(16))
    proof_address: Mapped[str | None] = mapped_column(String(300))
    associations: Mapped[int]
    objects_per_association: Mapped[int | None]
    kilobytes_per_second: Mapped[int | None]
    credentials: Mapped[str | None] = mapped_column(Text)
    paused: Mapped[bool]
    added_by: Mapped[str] = mapped_column(String(96))
    added_at: Mapped[datetime]
    changed_at: Mapped[datetime]


class DestinationCircuitRow(Model):
    """Whether a destination is left alone for a while, since it could not be reached; none where nothing is wrong.

    ``trial_until`` is how long one batch may try it once ``open_until`` has passed.
    """

    __tablename__ = "destination_circuits"

    destination: Mapped[str] = mapped_column(String(300), primary_key=True)
    failures: Mapped[int]
    open_until: Mapped[datetime | None]
    trial_until: Mapped[datetime | None]
    code: Mapped[str | None] = mapped_column(_CODE)
    reason: Mapped[str | None] = mapped_column(Text)
    changed_at: Mapped[datetime]


class DestinationNegotiationRow(Model):
    """What a destination said that it takes, as JSON: transfer syntaxes by SOP class; ``code`` where it did not say."""

    __tablename__ = "destination_negotiations"

    destination: Mapped[str] = mapped_column(String(300), primary_key=True)
    taken: Mapped[str] = mapped_column(Text)
    code: Mapped[str | None] = mapped_column(_CODE)
    asked_at: Mapped[datetime]
