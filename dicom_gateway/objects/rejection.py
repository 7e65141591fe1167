"""Rejection note: a Key Object Selection Document that takes results back.

PS3.3 A.35.4, PS3.16 TID 2010, and IHE RAD Imaging Object Change Management, which says what archives do with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as DicomCode

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects.contribution import TOOK_BACK
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import derived_identity, settle
from dicom_gateway.objects.key_object_document import KeyObjectStatement, key_object_document, named_object
from dicom_gateway.objects.sources import copy_identity
from storage.domain import ObjectKind


class RejectionReason(StrEnum):
    """Why objects are taken back: the document titles of PS3.16 CID 7010 that IHE IOCM makes rejection notes.

    A superseded result is rejected for QUALITY: it was made of an incomplete study, and an archive then hides it from
    the usual queries and may show it on demand. The other titles say what is not so, or do too much: PATIENT_SAFETY
    keeps it from everyone and accuses it of harm, WORKLIST_ENTRY says that patient or order were mixed up, and
    DATA_RETENTION has it deleted, with the record of what a reader saw.
    """

    QUALITY = "quality"
    PATIENT_SAFETY = "patient_safety"
    WORKLIST_ENTRY = "worklist_entry"
    DATA_RETENTION = "data_retention"

    @property
    def document_title(self) -> DicomCode:
        """The document's title that says so."""
        return _TITLES[self]


_TITLES = {
    RejectionReason.QUALITY: DicomCode("113001", "DCM", "Rejected for Quality Reasons"),
    RejectionReason.PATIENT_SAFETY: DicomCode("113037", "DCM", "Rejected for Patient Safety Reasons"),
    RejectionReason.WORKLIST_ENTRY: DicomCode("113038", "DCM", "Incorrect Modality Worklist Entry"),
    RejectionReason.DATA_RETENTION: DicomCode("113039", "DCM", "Data Retention Policy Expired"),
}
_DESCRIPTIONS = {
    RejectionReason.QUALITY: "Superseded: the study was analysed again after more images had arrived",
    RejectionReason.PATIENT_SAFETY: "Withdrawn: these results must not be used",
    RejectionReason.WORKLIST_ENTRY: "Withdrawn: these results belong to another patient or procedure",
    RejectionReason.DATA_RETENTION: "Withdrawn: these results need not be kept",
}


def build_rejection(
    rejected: Sequence[Dataset],
    *,
    written_at: datetime,
    equipment: Equipment,
    reason: RejectionReason = RejectionReason.QUALITY,
) -> Dataset:
    """Build the rejection note on written objects, whose headers these are; its UIDs follow from theirs and the reason.

    Patient and study are those of the rejected objects. Raises ObjectInvalid unless they are of one study and patient.
    """
    _require_one_study(rejected)
    uids = sorted(str(dataset.SOPInstanceUID) for dataset in rejected)
    study_instance_uid = str(rejected[0].StudyInstanceUID)
    # The kind of the SOP class: notes had their UIDs derived from it before key objects were a form.
    identity = derived_identity(ObjectKind.KO, study_instance_uid, reason.value, *uids)
    statement = KeyObjectStatement(
        reason.document_title, _DESCRIPTIONS[reason], equipment.rejection_series_number, contributed=TOOK_BACK
    )
    document = key_object_document(
        [named_object(dataset) for dataset in rejected], statement, identity, equipment=equipment
    )
    copy_identity(rejected[0], document)
    settle(document, identity, written_at=written_at, equipment=equipment)
    return document


def _require_one_study(rejected: Sequence[Dataset]) -> None:
    if not rejected:
        raise ObjectInvalid("a rejection note must name what it rejects")
    for keyword in ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "PatientName"):
        if len({str(dataset.get(keyword, "")) for dataset in rejected}) != 1:
            raise ObjectInvalid(f"a rejection note is on objects of one study; these differ in {keyword}")
