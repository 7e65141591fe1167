"""Whose study it is, for channels that may know: read from the header of one stored image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from dicom_gateway.announcing.announcement import AnnouncedPatient
from dicom_gateway.usable_text import with_usable_text
from storage import patient_keys
from storage.announcing.claims import ClaimedAnnouncement
from storage.audit_tables import AuditLogRow
from storage.models import InstanceRow, StudyRow
from storage.objects import ObjectStore

_KEYWORDS = (
    "SpecificCharacterSet",
    "AccessionNumber",
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
)
_MOST_FILES = 3
_MOST_VERSIONS = 100


@dataclass(frozen=True, slots=True)
class PatientSource:
    """Whom an announcement concerns: what the record says, and images whose headers say more.

    ``patient_id`` and ``accession_number`` are those of the study, and None where the announcement concerns the patient
    whom it was of before: then only a header with the ``patient_key`` says who that is. ``salt`` is what keys are made
    with.
    """

    patient_id: str | None
    accession_number: str | None
    patient_key: str | None
    salt: str
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConcernedPatient:
    """The patient, and the number of the order."""

    patient: AnnouncedPatient
    accession_number: str


def patient_source(session: Session, claimed: ClaimedAnnouncement) -> PatientSource:
    """Return where the patient of an announcement is read from; images that retention deleted are none."""
    study = session.get_one(StudyRow, claimed.study_id)
    is_same = study.patient_key == claimed.patient_key
    query = _current_images(study.id) if is_same else _former_images(study.id)
    return PatientSource(
        patient_id=study.patient_id if is_same else None,
        accession_number=study.accession_number if is_same else None,
        patient_key=claimed.patient_key,
        salt=session.scalars(select(AuditLogRow.salt)).one(),
        digests=tuple(session.scalars(query)),
    )


def _current_images(study_id: int) -> Select[str]:
    kept = InstanceRow.study_id == study_id, InstanceRow.deleted_at.is_(None), InstanceRow.current
    return select(InstanceRow.digest).where(*kept).order_by(InstanceRow.id.desc()).limit(_MOST_FILES)


def _former_images(study_id: int) -> Select[str]:
    """Return what was corrected, and is kept beside: all versions of the images that came first.

    They have been there under each patient that the study was of, however often it was corrected.
    """
    former = InstanceRow.study_id == study_id, InstanceRow.deleted_at.is_(None), InstanceRow.current.is_(False)
    first = select(InstanceRow.sop_instance_uid).where(*former).group_by(InstanceRow.sop_instance_uid)
    first = first.order_by(func.min(InstanceRow.id)).limit(_MOST_FILES)
    query = select(InstanceRow.digest).where(*former, InstanceRow.sop_instance_uid.in_(first))
    return query.order_by(InstanceRow.id.desc()).limit(_MOST_VERSIONS)


def read_patient(source: PatientSource, objects: ObjectStore) -> ConcernedPatient:
    """Return the patient by the first header of the source's images that is of the same one.

    Where no image is left, or none can be read, only the id is known, and of a former patient nothing.
    """
    for header in _headers(source, objects):
        if _is_of(header, source):
            known = source.accession_number
            return ConcernedPatient(_patient(header), _text(header, "AccessionNumber") if known is None else known)
    nobody = AnnouncedPatient((source.patient_id or "").strip(), "", "", None, "")
    return ConcernedPatient(nobody, source.accession_number or "")


def _is_of(header: Dataset, source: PatientSource) -> bool:
    patient_id = _text(header, "PatientID")
    if source.patient_id is not None:
        return patient_id == source.patient_id.strip()
    return source.patient_key is not None and patient_keys.salted(source.salt, patient_id) == source.patient_key


def _patient(header: Dataset) -> AnnouncedPatient:
    return AnnouncedPatient(
        patient_id=_text(header, "PatientID"),
        issuer=_text(header, "IssuerOfPatientID"),
        name=_text(header, "PatientName"),
        birth_date=_date(_text(header, "PatientBirthDate")),
        sex=_text(header, "PatientSex"),
    )


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
