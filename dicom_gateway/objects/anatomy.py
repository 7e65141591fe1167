"""Where in the body a series was taken, as far as its headers say so."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as DicomCode

# Body Part Examined, a defined term (PS3.16 Annex L), to its SNOMED code.
_BODY_PARTS = {
    "ABDOMEN": DicomCode("818981001", "SCT", "Abdomen"),
    "ABDOMENPELVIS": DicomCode("818982008", "SCT", "Abdomen and Pelvis"),
    "BRAIN": DicomCode("12738006", "SCT", "Brain"),
    "BREAST": DicomCode("76752008", "SCT", "Breast"),
    "CHEST": DicomCode("816094009", "SCT", "Chest"),
    "HEAD": DicomCode("69536005", "SCT", "Head"),
    "HEADNECK": DicomCode("774007", "SCT", "Head and Neck"),
    "LIVER": DicomCode("10200004", "SCT", "Liver"),
    "LUNG": DicomCode("39607008", "SCT", "Lung"),
    "NECK": DicomCode("45048000", "SCT", "Neck"),
    "PELVIS": DicomCode("816092008", "SCT", "Pelvis"),
    "PROSTATE": DicomCode("41216001", "SCT", "Prostate"),
    "SKULL": DicomCode("89546000", "SCT", "Skull"),
    "SPINE": DicomCode("421060004", "SCT", "Spine"),
}


def anatomic_region(dataset: Dataset) -> DicomCode | None:
    """Return the coded region that a header states, else the one its body part stands for, else None.

    A head MR shows the brain, and is coded so.
    """
    for holder in (dataset, _frame_anatomy(dataset)):
        stated = holder.get("AnatomicRegionSequence") if holder is not None else None
        if stated and (code := _stated_code(stated[0])) is not None:
            return code
    body_part = "".join(str(dataset.get("BodyPartExamined", "")).upper().split())
    if body_part == "HEAD" and dataset.get("Modality") == "MR":
        body_part = "BRAIN"
    return _BODY_PARTS.get(body_part)


def _frame_anatomy(dataset: Dataset) -> Dataset | None:
    shared = dataset.get("SharedFunctionalGroupsSequence")
    anatomy = shared[0].get("FrameAnatomySequence") if shared else None
    return anatomy[0] if anatomy else None


def _stated_code(item: Dataset) -> DicomCode | None:
    """Return a SNOMED CT code as it stands; older designators (SRT, SNM3) are left to the body part."""
    if item.get("CodingSchemeDesignator") != "SCT" or not item.get("CodeValue") or not item.get("CodeMeaning"):
        return None
    return DicomCode(str(item.CodeValue), "SCT", str(item.CodeMeaning))
