"""Tables of what the headers of stored objects tell peers who search; made from the objects, and made anew at will."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_UID = String(64)
_SHA = String(64)
_BIG = BigInteger().with_variant(Integer, "sqlite")


class HeldStudyRow(Model):
    """What is searched of one study; patient data, which is in no log and no event.

    ``folded_name`` and ``folded_referrer`` are the names as they are compared: case, accents and separators folded.
    ``attributes`` is JSON of the DICOM model: everything of the study and patient levels that answers show.
    ``read_until`` is the time of the last image, and ``last_object_id`` the last written object, that it covers.
    """

    __tablename__ = "held_studies"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True, autoincrement=False)
    study_instance_uid: Mapped[str] = mapped_column(_UID, unique=True)
    patient_id: Mapped[str] = mapped_column(String(64))
    folded_name: Mapped[str] = mapped_column(String(324))
    birth_date: Mapped[str] = mapped_column(String(8))
    sex: Mapped[str] = mapped_column(String(16))
    study_date: Mapped[str] = mapped_column(String(8))
    study_time: Mapped[str] = mapped_column(String(16))
    accession_number: Mapped[str] = mapped_column(String(64))
    study_number: Mapped[str] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(String(64))
    folded_referrer: Mapped[str] = mapped_column(String(324))
    attributes: Mapped[str] = mapped_column(Text)
    read_until: Mapped[datetime]
    last_object_id: Mapped[int]

    __table_args__ = (
        Index(None, "study_date", "study_id"),
        Index(None, "patient_id"),
        Index(None, "folded_name", "study_id"),
        Index(None, "accession_number"),
    )


class HeldSeriesRow(Model):
    """What is searched of one series; ``written`` says that oncue wrote it. ``attributes`` as in ``held_studies``."""

    __tablename__ = "held_series"

    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    series_instance_uid: Mapped[str] = mapped_column(_UID, index=True)
    modality: Mapped[str] = mapped_column(String(16))
    series_number: Mapped[int | None]
    description: Mapped[str] = mapped_column(String(64))
    body_part: Mapped[str] = mapped_column(String(16))
    series_date: Mapped[str] = mapped_column(String(8))
    series_time: Mapped[str] = mapped_column(String(16))
    written: Mapped[bool]
    attributes: Mapped[str] = mapped_column(Text)

    __table_args__ = (UniqueConstraint("study_id", "series_instance_uid"), Index(None, "modality", "study_id"))


class ObjectHeaderRow(Model):
    """What the header of one stored object tells of it as an instance; the digest says which bytes it was read from.

    ``sop_instance_uid`` finds objects of which nobody names the study: received ones and written ones. ``attributes``
    is JSON of the DICOM model: what answers show beside the columns.
    """

    __tablename__ = "object_headers"

    digest: Mapped[str] = mapped_column(_SHA, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    sop_instance_uid: Mapped[str] = mapped_column(_UID, index=True)
    instance_number: Mapped[int | None]
    pixel_rows: Mapped[int | None]
    pixel_columns: Mapped[int | None]
    frames: Mapped[int | None]
    attributes: Mapped[str] = mapped_column(Text)
