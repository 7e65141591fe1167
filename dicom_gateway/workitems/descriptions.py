"""What an image's header tells of patient and order, written into the workitem of its study."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from dicom_gateway import data_sets
from dicom_gateway.pydicom_faults import FAULTS
from storage import studies
from storage.attributes import Attributes, Element, element, sequence
from storage.database import Database
from storage.domain import StoredInstance
from storage.errors import StorageError
from storage.objects import ObjectStore
from storage.workitems import opening
from storage.workitems.attributes import Tag

_AT_ONCE = 50
_ACTOR = "gateway"
_PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate",
    "PatientSex",
    "OtherPatientIDsSequence",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
)
_ORDER = (
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "RequestingPhysician",
    "RequestingService",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "ReasonForTheRequestedProcedure",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
)
_KEYWORDS = [*_PATIENT, *_ORDER, "SpecificCharacterSet", "RequestAttributesSequence", "StudyInstanceUID"]
_OF_REQUEST: tuple[tuple[str, str], ...] = (
    ("00402016", "LO"),
    ("00402017", "LO"),
    (Tag.RequestedProcedureID.value, "SH"),
)
"""Attributes of an item of the Referenced Request Sequence that must be there, empty where nothing is known."""

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class WorkitemDescriptions:
    """Fills workitems of our own studies; a study whose images cannot be read has what the records say of it."""

    database: Database
    objects: ObjectStore
    clock: Callable[[], datetime]
    _has_opened_missing: bool = False

    def write_due(self) -> int:
        """Describe the workitems that are not yet, oldest first, and return how many there were.

        At first those are opened that studies of before an upgrade lack.
        """
        if not self._has_opened_missing:
            self._open_missing()
        with self.database.read() as session:
            due = opening.undescribed(session, limit=_AT_ONCE)
        for workitem_id, study_id in due:
            self._describe(workitem_id, study_id)
        return len(due)

    def _open_missing(self) -> None:
        """Open some, the most urgent first; the rest has its turn in the next rounds, so that reports do not wait."""
        with self.database.write() as session:
            missing = opening.without_workitem(session, limit=_AT_ONCE)
            for study_id in missing:
                opening.note_result(session, study_id, actor=_ACTOR, now=self.clock())
        self._has_opened_missing = len(missing) < _AT_ONCE

    def _describe(self, workitem_id: int, study_id: int) -> None:
        try:
            with self.database.read() as session:
                instances = studies.instances_of(session, study_id)
            described = self._read(instances)
            with self.database.write() as session:
                opening.describe(session, workitem_id, described)
        except StorageError as error:
            logger.warning("workitem.not_described", code=error.code, workitem=workitem_id)

    def _read(self, instances: tuple[StoredInstance, ...]) -> Attributes:
        """Return what the first image tells that can be read; nothing where none can be."""
        for instance in instances[:3]:
            header = _header(self.objects, instance.digest)
            if header is not None:
                return _described(header)
        return Attributes({})


def _header(objects: ObjectStore, digest: str) -> Attributes | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # departures from the standard are judged by value
        try:
            header: Dataset = dcmread(objects.path(digest), stop_before_pixels=True, specific_tags=_KEYWORDS)
            return data_sets.of_dataset(header)
        except (*FAULTS, OSError):
            return None


def _described(header: Attributes) -> Attributes:
    patient = header.only(_tags(_PATIENT))
    requests = header.items(_tag("RequestAttributesSequence")) or (Attributes({}),)
    items = [_request(header, request).elements for request in requests]
    return patient.changed({Tag.ReferencedRequestSequence.value: sequence(*items)})


def _request(header: Attributes, request: Attributes) -> Attributes:
    """Return one order: what its own item says counts before what stands beside it (PS3.3 C.30.4)."""
    empty: dict[str, Element] = {tag: element(vr) for tag, vr in _OF_REQUEST}
    of_image = header.only([*_tags(_ORDER), Tag.StudyInstanceUID])
    own = request.only(_tags(_ORDER))
    return Attributes({**empty, Tag.AccessionNumber.value: element("SH"), **of_image.elements, **own.elements})


def _tags(keywords: tuple[str, ...]) -> list[str]:
    return [_tag(keyword) for keyword in keywords]


def _tag(keyword: str) -> str:
    return f"{tag_for_keyword(keyword):08X}"
