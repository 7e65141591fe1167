"""Tables of what the headers of stored objects tell peers who search; made from the objects, and made anew at will."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeEngine

from storage.models import Model, where_all


def _compared(characters: int) -> TypeEngine[str]:
    """Return a text that PostgreSQL compares by its bytes, as SQLite does: ranges and prefixes go by an index."""
    return String(characters).with_variant(String(characters, collation="C"), "postgresql")


_UID = String(64)
_SHA = String(64)
_NAME = _compared(324)


class HeldStudyRow(Model):
    """What is searched of one study; patient data, which is in no log and no event.

    ``folded_name`` and its like are names as they are compared: case, accents and separators folded. ``attributes`` is
    JSON of the DICOM model: everything of the study and patient levels that answers show. With ``is_due`` something of
    the study came or went since its headers were read: whoever reads them takes the study first.
    """

    __tablename__ = "held_studies"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True, autoincrement=False)
    study_instance_uid: Mapped[str] = mapped_column(_UID, unique=True)
    patient_id: Mapped[str] = mapped_column(_compared(64))
    folded_name: Mapped[str] = mapped_column(_NAME)
    ideographic_name: Mapped[str] = mapped_column(_NAME)
    phonetic_name: Mapped[str] = mapped_column(_NAME)
    birth_date: Mapped[str] = mapped_column(_compared(8))
    sex: Mapped[str] = mapped_column(_compared(16))
    study_date: Mapped[str] = mapped_column(_compared(8))
    study_time: Mapped[str] = mapped_column(_compared(16))
    accession_number: Mapped[str] = mapped_column(_compared(64))
    study_number: Mapped[str] = mapped_column(_compared(64))
    description: Mapped[str] = mapped_column(_compared(64))
    folded_referrer: Mapped[str] = mapped_column(_NAME)
    attributes: Mapped[str] = mapped_column(Text)
    is_due: Mapped[bool]

    __table_args__ = (
        Index(None, "study_date", "study_id"),
        Index(None, "patient_id", "study_id"),
        Index(None, "folded_name", "study_id"),
        Index(None, "accession_number"),
        Index("ix_held_studies_due", "study_id", **where_all("is_due")),
    )


class HeldSeriesRow(Model):
    """What is searched of one series; ``written`` says that oncue wrote it. ``attributes`` as in ``held_studies``."""

    __tablename__ = "held_series"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True, autoincrement=False)
    series_instance_uid: Mapped[str] = mapped_column(_UID, primary_key=True, index=True)
    modality: Mapped[str] = mapped_column(_compared(16))
    series_number: Mapped[int | None]
    description: Mapped[str] = mapped_column(_compared(64))
    body_part: Mapped[str] = mapped_column(_compared(16))
    series_date: Mapped[str] = mapped_column(_compared(8))
    series_time: Mapped[str] = mapped_column(_compared(16))
    performed_date: Mapped[str] = mapped_column(_compared(8))
    performed_time: Mapped[str] = mapped_column(_compared(16))
    written: Mapped[bool]
    attributes: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index(None, "modality", "study_id"),)


class ObjectHeaderRow(Model):
    """What the header of one stored object tells of it as an instance; the digest says which bytes it was read from.

    ``sop_instance_uid`` finds objects of which nobody names the study: received ones and written ones. ``attributes``
    is JSON of the DICOM model: what answers show of it.
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
