"""Tables of studies on their way in: associations, what each sent of which study, and how long senders pause."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_CODE = String(64)
_AET = String(16)
_BIG = BigInteger().with_variant(Integer, "sqlite")


class AssociationRow(Model):
    """One association with a sender; ``last_store_at`` is None until it sends an image."""

    __tablename__ = "associations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    process_id: Mapped[str] = mapped_column(ForeignKey("processes.id"))
    calling_aet: Mapped[str] = mapped_column(_AET)
    called_aet: Mapped[str] = mapped_column(_AET)
    remote_address: Mapped[str] = mapped_column(String(64))
    opened_at: Mapped[datetime]
    last_store_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "closed_at"),)


class AssociationStudyRow(Model):
    """A study that an association sent something of: it stays open while that association is at work on it.

    ``last_store_at`` is when it last sent an image of this study, None where only the association's own time is known.
    """

    __tablename__ = "association_studies"

    association_id: Mapped[str] = mapped_column(ForeignKey("associations.id"), primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True, index=True)
    last_store_at: Mapped[datetime | None]


class StudyArrivalRow(Model):
    """How far a study is on its way in, once there is more to say than ``studies`` does.

    ``since`` is when its current revision opened, ``late_revisions`` how many late images in a row opened one.
    ``expected`` is how many images its source said to hold at ``asked_at``, ``ask_code`` why it could not say.
    """

    __tablename__ = "study_arrivals"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True, autoincrement=False)
    since: Mapped[datetime]
    late_revisions: Mapped[int]
    expected: Mapped[int | None]
    asked_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    ask_code: Mapped[str | None] = mapped_column(_CODE)
    waits_for: Mapped[str | None] = mapped_column(String(32))
    hold: Mapped[str | None] = mapped_column(String(16))
    released_at: Mapped[datetime | None]


class ArrivalGapRow(Model):
    """The longest pause between two images of one study, of one sender and modality; what quiet times learn from."""

    __tablename__ = "arrival_gaps"

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    calling_aet: Mapped[str] = mapped_column(_AET)
    modality: Mapped[str] = mapped_column(String(16))
    longest_seconds: Mapped[float] = mapped_column(Float)
    measured_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("study_id", "calling_aet", "modality"),
        Index(None, "calling_aet", "modality", "id"),
    )
