"""What the headers of stored objects say, kept for search: which are unread, and what was read of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from storage import matching, study_locks
from storage.attributes import Attributes
from storage.holdings import held, noting
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow, ObjectHeaderRow
from storage.holdings.tags import Tag
from storage.models import InstanceRow, StudyRow
from storage.result_tables import ResultObjectRow

_BIGGEST = 2**31 - 1
_LONGEST_NAME = 324
_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"\d{2,6}(?:\.\d{1,6})?")


@dataclass(frozen=True, slots=True)
class UnreadObject:
    """A stored object whose header is to be read."""

    digest: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Unread:
    """Objects of a study to be read, in the order in which they came, and the one that speaks for study and patient.

    That is the image that was received last, of results alone the one written last; None where nothing is held.
    """

    objects: tuple[UnreadObject, ...]
    speaker: UnreadObject | None


@dataclass(frozen=True, slots=True)
class ReadHeaders:
    """What was read of a study: of its speaker, of its series by their UIDs, and of objects by their digests.

    What could not be read is empty.
    """

    speaker: UnreadObject
    study: Attributes
    series: Mapping[str, Attributes]
    objects: Mapping[UnreadObject, Attributes]


def due_studies(session: Session, *, limit: int) -> Sequence[int]:
    """Return studies of which something is to be read, the newest first."""
    query = select(HeldStudyRow.study_id).where(HeldStudyRow.is_due).order_by(HeldStudyRow.study_id.desc())
    return session.scalars(query.limit(limit)).all()


def count_due(session: Session, *, arrived_before: datetime | None = None) -> int:
    """Return of how many studies something is to be read, of those alone whose last image came before a moment."""
    query = select(func.count()).select_from(HeldStudyRow).where(HeldStudyRow.is_due)
    if arrived_before is not None:
        query = query.join(StudyRow, StudyRow.id == HeldStudyRow.study_id)
        query = query.where(StudyRow.last_instance_at < arrived_before)
    return session.scalar(query) or 0


def unread(session: Session, study_id: int, *, limit: int) -> Unread:
    """Return objects of a study that are held and were not read, ``limit`` at most."""
    received = _columns(InstanceRow).where(InstanceRow.study_id == study_id, held.is_received())
    written = _columns(ResultObjectRow).where(ResultObjectRow.study_id == study_id, held.is_written())
    latest = received.order_by(InstanceRow.received_at.desc(), InstanceRow.id.desc())
    speaker = session.execute(latest.limit(1)).first()
    if speaker is None:
        speaker = session.execute(written.order_by(ResultObjectRow.id.desc()).limit(1)).first()
    known = select(ObjectHeaderRow.digest).where(ObjectHeaderRow.study_id == study_id)
    found = [
        *session.execute(received.where(InstanceRow.digest.not_in(known)).order_by(InstanceRow.id).limit(limit)),
        *session.execute(written.where(ResultObjectRow.digest.not_in(known)).order_by(ResultObjectRow.id).limit(limit)),
    ]
    return Unread(
        tuple(UnreadObject(*row) for row in found[:limit]), None if speaker is None else UnreadObject(*speaker)
    )


def keep(session: Session, study_id: int, read: ReadHeaders | None) -> bool:
    """Keep what was read of a study, and return whether that is all there is to read.

    None is of a study of which nothing is held: it is forgotten. The study is taken until the transaction ends.
    """
    if study_locks.take(session, study_id) is None:
        return True
    if read is not None:
        _keep_objects(session, study_id, read.objects)
        _keep_series(session, study_id, read.series)
        _keep_study(session, study_id, read.study)
    noting.forget_gone(session, study_id)
    left = unread(session, study_id, limit=1)
    if left.speaker is None:
        noting.note_deleted(session, study_id)
        return True
    is_all = not left.objects and read is not None and read.speaker == left.speaker
    if is_all:
        session.execute(update(HeldStudyRow).where(HeldStudyRow.study_id == study_id).values(is_due=False))
    return is_all


def _columns(row: type[InstanceRow | ResultObjectRow]) -> Any:
    return select(row.digest, row.series_instance_uid, row.sop_instance_uid, row.sop_class_uid, row.transfer_syntax_uid)


def _keep_objects(session: Session, study_id: int, objects: Mapping[UnreadObject, Attributes]) -> None:
    rows = [
        {
            "digest": one.digest,
            "study_id": study_id,
            "sop_instance_uid": one.sop_instance_uid,
            "instance_number": _number(said, Tag.InstanceNumber),
            "pixel_rows": _number(said, Tag.Rows),
            "pixel_columns": _number(said, Tag.Columns),
            "frames": _number(said, Tag.NumberOfFrames),
            "attributes": said.text(),
        }
        for one, said in objects.items()
    ]
    if rows:
        insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
        session.execute(insert(ObjectHeaderRow).on_conflict_do_nothing(), rows)


def _keep_series(session: Session, study_id: int, series: Mapping[str, Attributes]) -> None:
    for uid, said in series.items():
        if not said.elements:
            continue
        values = {
            "series_number": _number(said, Tag.SeriesNumber),
            "description": _text(said, Tag.SeriesDescription, 64),
            "body_part": _text(said, Tag.BodyPartExamined, 16),
            "series_date": _date(said, Tag.SeriesDate),
            "series_time": _time(said, Tag.SeriesTime),
            "performed_date": _date(said, Tag.PerformedProcedureStepStartDate),
            "performed_time": _time(said, Tag.PerformedProcedureStepStartTime),
            "attributes": said.text(),
        }
        if modality := _text(said, Tag.Modality, 16):
            values["modality"] = modality
        is_one = (HeldSeriesRow.study_id == study_id, HeldSeriesRow.series_instance_uid == uid)
        session.execute(update(HeldSeriesRow).where(*is_one).values(values))


def _keep_study(session: Session, study_id: int, said: Attributes) -> None:
    if not said.elements:
        return
    alphabetic, ideographic, phonetic = _names(said, Tag.PatientName)
    values = {
        "patient_id": _text(said, Tag.PatientID, 64),
        "folded_name": alphabetic,
        "ideographic_name": ideographic,
        "phonetic_name": phonetic,
        "birth_date": _date(said, Tag.PatientBirthDate),
        "sex": _text(said, Tag.PatientSex, 16),
        "study_date": _date(said, Tag.StudyDate),
        "study_time": _time(said, Tag.StudyTime),
        "accession_number": _text(said, Tag.AccessionNumber, 64),
        "study_number": _text(said, Tag.StudyID, 64),
        "description": _text(said, Tag.StudyDescription, 64),
        "folded_referrer": _names(said, Tag.ReferringPhysicianName)[0],
        "attributes": said.text(),
    }
    session.execute(update(HeldStudyRow).where(HeldStudyRow.study_id == study_id).values(values))


def _names(said: Attributes, tag: Tag) -> tuple[str, str, str]:
    """Return the component groups of a name as they are compared."""
    first = next(iter(said.values(tag)), "")
    groups = first if isinstance(first, Mapping) else {"Alphabetic": str(first)}
    alphabetic, ideographic, phonetic = (
        matching.folded(_plain(str(groups.get(group) or "")))[:_LONGEST_NAME]
        for group in ("Alphabetic", "Ideographic", "Phonetic")
    )
    return alphabetic, ideographic, phonetic


def _text(said: Attributes, tag: Tag, longest: int) -> str:
    return _plain(said.value(tag))[:longest].strip()


def _date(said: Attributes, tag: Tag) -> str:
    """Return a date as it is compared; empty where the value is none."""
    value = said.value(tag).replace(".", "")
    return value if _DATE.fullmatch(value) else ""


def _time(said: Attributes, tag: Tag) -> str:
    """Return a time as it is compared: to the second at least, without zeros at the end of its fraction."""
    value = said.value(tag).replace(":", "")
    if _TIME.fullmatch(value) is None:
        return ""
    seconds, _, fraction = value.partition(".")
    fraction = fraction.rstrip("0")
    return seconds.ljust(6, "0") + (f".{fraction}" if fraction else "")


def _number(said: Attributes, tag: Tag) -> int | None:
    try:
        value = int(float(said.value(tag)))
    except (ValueError, OverflowError):
        return None
    return value if abs(value) <= _BIGGEST else None


def _plain(text: str) -> str:
    """Return a text without what a database may choke on: controls, and halves of a surrogate pair."""
    return "".join(part for part in text if unicodedata.category(part) not in {"Cc", "Cs"})
