"""Rows of what is held, drawn by number: studies with their series, images and results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any, cast

from sqlalchemy import Table
from sqlalchemy.orm import Session

from benchmarks.history import bulk
from storage.attributes import Attributes, Element, element
from storage.domain import Lane
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow, ObjectHeaderRow
from storage.holdings.tags import Tag
from storage.matching import folded
from storage.models import InstanceRow, StudyRow
from storage.result_tables import ResultObjectRow

_NOW = datetime(2026, 3, 1, tzinfo=UTC)
LARGE_EVERY = 40
_LARGE_SERIES = 500
_NAMES = ("müller", "smith", "garcia", "rossi", "novák", "kowalski", "andersen", "silva", "dubois", "ivanov")
_GIVEN = ("anna", "john", "maria", "jan", "zoë", "paul", "eva", "ali", "mia", "noah")
_MODALITIES = ("CT", "MR", "PT", "CR", "US", "MG")
_CT = "1.2.840.10008.5.1.4.1.1.2"
_SEG = "1.2.840.10008.5.1.4.1.1.66.4"
_SYNTAX = "1.2.840.10008.1.2.1"


def add_studies(session: Session, numbers: range) -> None:
    """Write the rows of some studies."""
    for row, rows in (
        (StudyRow, [_study(number) for number in numbers]),
        (HeldStudyRow, [_held_study(number) for number in numbers]),
        (HeldSeriesRow, [one for number in numbers for one in _held_series(number)]),
        (InstanceRow, [one for number in numbers for one in _instances(number)]),
        (ObjectHeaderRow, [one for number in numbers for one in _headers(number)]),
        (ResultObjectRow, [_written(number) for number in numbers if number % 2]),
    ):
        names = list(rows[0])
        bulk.add(session, cast("Table", row.__table__), names, [tuple(one[name] for name in names) for one in rows])


def uid_of(*parts: int) -> str:
    """Return the UID of a study, a series or an object by its numbers."""
    return "1.2.826.0.1." + ".".join(map(str, parts))


def date_of(number: int) -> str:
    """Return the date of a study, within ten years."""
    return f"{date(2016, 1, 1) + timedelta(days=number * 7919 % 3650):%Y%m%d}"


def name_of(number: int) -> str:
    """Return the name of a patient."""
    return f"{_NAMES[number % 10]}{number % 97}^{_GIVEN[number // 10 % 10]}"


def _series_of(number: int) -> Sequence[tuple[str, int]]:
    """Return the series of a study, and how many images each has."""
    if number % LARGE_EVERY == 0:
        return [(uid_of(number, 1), _LARGE_SERIES), *((uid_of(number, one), 31) for one in (2, 3, 4))]
    return [(uid_of(number, one), images) for one, images in ((1, 60), (2, 30), (3, 15), (4, 10))]


def _modality(number: int) -> str:
    return _MODALITIES[number % 6] if number % 100 else "NM"


def _study(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "study_instance_uid": uid_of(number),
        "revision": 1,
        "lane": Lane.ROUTINE.value,
        "opened_at": _NOW,
        "last_instance_at": _NOW,
        "closed_at": _NOW,
        "patient_id": f"P{number // 3}",
        "patient_key": None,
        "accession_number": f"A{number}",
        "study_date": date_of(number),
        "study_description": "Examination",
    }


def _held_study(number: int) -> dict[str, Any]:
    said: dict[str, Element] = {
        Tag.StudyDate: element("DA", date_of(number)),
        Tag.StudyTime: element("TM", "101500"),
        Tag.AccessionNumber: element("SH", f"A{number}"),
        Tag.ReferringPhysicianName: element("PN", {"Alphabetic": "House^Gregory"}),
        Tag.StudyDescription: element("LO", "Examination of the body part in question"),
        Tag.PatientName: element("PN", {"Alphabetic": name_of(number // 3)}),
        Tag.PatientID: element("LO", f"P{number // 3}"),
        Tag.PatientBirthDate: element("DA", "19600101"),
        Tag.PatientSex: element("CS", "F"),
        Tag.StudyID: element("SH", str(number)),
    }
    return {
        "study_id": number,
        "study_instance_uid": uid_of(number),
        "patient_id": f"P{number // 3}",
        "folded_name": folded(name_of(number // 3)),
        "ideographic_name": "",
        "phonetic_name": "",
        "birth_date": "19600101",
        "sex": "F",
        "study_date": date_of(number),
        "study_time": "101500",
        "accession_number": f"A{number}",
        "study_number": str(number),
        "description": "Examination of the body part in question",
        "folded_referrer": "house gregory",
        "attributes": Attributes(said).text(),
        "is_due": False,
    }


def _held_series(number: int) -> Iterator[dict[str, Any]]:
    for place, (uid, _) in enumerate(_series_of(number), start=1):
        yield _series_row(number, uid, place, _modality(number), written=False)
    if number % 2:
        yield _series_row(number, uid_of(number, 9), 900, "SEG", written=True)


def _series_row(number: int, uid: str, place: int, modality: str, *, written: bool) -> dict[str, Any]:
    said: dict[str, Element] = {
        Tag.Modality: element("CS", modality),
        Tag.SeriesNumber: element("IS", place),
        Tag.SeriesDescription: element("LO", f"Series {place}"),
        Tag.BodyPartExamined: element("CS", "HEAD"),
    }
    return {
        "study_id": number,
        "series_instance_uid": uid,
        "modality": modality,
        "series_number": place,
        "description": f"Series {place}",
        "body_part": "HEAD",
        "series_date": date_of(number),
        "series_time": "101500",
        "performed_date": "",
        "performed_time": "",
        "written": written,
        "attributes": Attributes(said).text(),
    }


def _images(number: int) -> Iterator[tuple[str, int, str]]:
    for uid, images in _series_of(number):
        for image in range(1, images + 1):
            yield uid, image, sha256(f"{uid}.{image}".encode()).hexdigest()


def _instances(number: int) -> Iterator[dict[str, Any]]:
    for uid, image, digest in _images(number):
        yield {
            "study_id": number,
            "revision": 1,
            "series_instance_uid": uid,
            "sop_instance_uid": f"{uid}.{image}",
            "sop_class_uid": _CT,
            "transfer_syntax_uid": _SYNTAX,
            "modality": _modality(number),
            "digest": digest,
            "content_sha256": digest,
            "size_bytes": 526_000,
            "calling_aet": "MODALITY",
            "received_at": _NOW,
            "current": True,
        }


def _headers(number: int) -> Iterator[dict[str, Any]]:
    for uid, image, digest in _images(number):
        said: dict[str, Element] = {
            "00080008": element("CS", "ORIGINAL", "PRIMARY", "AXIAL"),
            "00080023": element("DA", date_of(number)),
            "00080033": element("TM", "101500"),
            Tag.InstanceNumber: element("IS", image),
            Tag.Rows: element("US", 512),
            Tag.Columns: element("US", 512),
            "00280100": element("US", 16),
        }
        yield {
            "digest": digest,
            "study_id": number,
            "sop_instance_uid": f"{uid}.{image}",
            "instance_number": image,
            "pixel_rows": 512,
            "pixel_columns": 512,
            "frames": None,
            "attributes": Attributes(said).text(),
        }


def _written(number: int) -> dict[str, Any]:
    digest = sha256(f"result {number}".encode()).hexdigest()
    return {
        "study_id": number,
        "job_id": None,
        "notice_id": None,
        "kind": "SEG",
        "sop_instance_uid": uid_of(number, 9, 1),
        "sop_class_uid": _SEG,
        "series_instance_uid": uid_of(number, 9),
        "transfer_syntax_uid": _SYNTAX,
        "digest": digest,
        "size_bytes": 40_000,
        "written_at": _NOW,
        "flaw": None,
    }
