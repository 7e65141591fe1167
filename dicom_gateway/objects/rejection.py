"""Rejection note: a Key Object Selection Document that takes results back.

PS3.3 A.35.4, PS3.16 TID 2010, and IHE RAD Imaging Object Change Management, which says what archives do with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as DicomCode

from dicom_gateway.errors import ObjectInvalid, SourceUnusable
from dicom_gateway.objects.contribution import TOOK_BACK, contribution
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import ObjectIdentity, derived_identity, settle
from dicom_gateway.objects.key_references import leave_references_unnamed
from dicom_gateway.objects.observers import device_observer
from dicom_gateway.objects.sources import copy_identity, reference_header
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
    document = _highdicom_document([_evidence(dataset) for dataset in rejected], reason, identity, equipment=equipment)
    leave_references_unnamed(document)
    copy_identity(rejected[0], document)
    settle(document, identity, written_at=written_at, equipment=equipment)
    return document


def _require_one_study(rejected: Sequence[Dataset]) -> None:
    if not rejected:
        raise ObjectInvalid("a rejection note must name what it rejects")
    for keyword in ("StudyInstanceUID", "PatientID", "IssuerOfPatientID", "PatientName"):
        if len({str(dataset.get(keyword, "")) for dataset in rejected}) != 1:
            raise ObjectInvalid(f"a rejection note is on objects of one study; these differ in {keyword}")


def _evidence(dataset: Dataset) -> Dataset:
    """Return a header to refer to an object by; what has rows and columns is referred to as an image."""
    header = reference_header(dataset)
    for keyword in ("Rows", "Columns"):
        if keyword in dataset:
            header.add(dataset[keyword])
    return header


def _highdicom_document(
    evidence: Sequence[Dataset], reason: RejectionReason, identity: ObjectIdentity, *, equipment: Equipment
) -> Dataset:
    # Loaded when the first note is written: few gateways ever write one.
    from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument

    content = KeyObjectSelection(
        document_title=reason.document_title,
        referenced_objects=evidence,
        observer_device_context=device_observer(equipment),
        description=_DESCRIPTIONS[reason],
    )
    try:
        return KeyObjectSelectionDocument(
            evidence=evidence,
            content=content,
            series_instance_uid=identity.series_instance_uid,
            series_number=equipment.rejection_series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=1,
            manufacturer=equipment.manufacturer,
            series_description=equipment.series_description,
            manufacturer_model_name=equipment.model_name,
            software_versions=equipment.software_version,
            device_serial_number=equipment.device_serial_number,
            contributing_equipment=[contribution(equipment, TOOK_BACK)],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceUnusable(f"no rejection note can be written on these objects: {type(error).__name__}") from error
