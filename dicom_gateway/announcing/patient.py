"""Whose study it is, for channels that may know: read from the header of one stored image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicom_gateway.announcing.announcement import AnnouncedPatient
from dicom_gateway.usable_text import with_usable_text
from storage.models import InstanceRow, StudyRow
from storage.objects import ObjectStore

_KEYWORDS = (
    "SpecificCharacterSet",
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
)
_MOST_FILES = 3


@dataclass(frozen=True, slots=True)
class PatientSource:
    """What the record says of a study's patient, and images whose headers say more."""

    patient_id: str
    accession_number: str
    digests: tuple[str, ...]


def patient_source(session: Session, study_id: int) -> PatientSource:
    """Return where a study's patient is read from; images that retention deleted are none."""
    study = session.get_one(StudyRow, study_id)
    query = select(InstanceRow.digest).where(
        InstanceRow.study_id == study_id, InstanceRow.current, InstanceRow.deleted_at.is_(None)
    )
    digests = tuple(session.scalars(query.order_by(InstanceRow.id.desc()).limit(_MOST_FILES)))
    return PatientSource(study.patient_id, study.accession_number, digests)


def read_patient(source: PatientSource, objects: ObjectStore) -> AnnouncedPatient:
    """Return the patient by the first header of the source's images that names the same id.

    Where no image is left, or none can be read, only the id is known.
    """
    for header in _headers(source, objects):
        if _text(header, "PatientID") == source.patient_id.strip():
            return AnnouncedPatient(
                patient_id=source.patient_id.strip(),
                issuer=_text(header, "IssuerOfPatientID"),
                name=_text(header, "PatientName"),
                birth_date=_date(_text(header, "PatientBirthDate")),
                sex=_text(header, "PatientSex"),
            )
    return AnnouncedPatient(source.patient_id.strip(), "", "", None, "")


def _headers(source: PatientSource, objects: ObjectStore) -> Iterator[Dataset]:
    for digest in source.digests:
        try:
            header = dcmread(objects.path(digest), stop_before_pixels=True, specific_tags=list(_KEYWORDS))
        except (OSError, InvalidDicomError, ValueError):
            continue  # deleted meanwhile, or a file that cannot be parsed: the next one may say it
        yield with_usable_text(header)


def _text(header: Dataset, keyword: str) -> str:
    value = header.get(keyword)
    return "" if value is None else str(value).strip()


def _date(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a day of the calendar has no zone
    except ValueError:
        return None
