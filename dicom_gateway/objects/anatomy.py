"""Where in the body a series was taken, as far as its headers say so."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as DicomCode

from storage.domain import Code, Site

# Body Part Examined, a defined term (PS3.16 Annex L), to its SNOMED code.
_BODY_PARTS = {
    "ABDOMEN": DicomCode("818981001", "SCT", "Abdomen"),
    "ABDOMENPELVIS": DicomCode("818982008", "SCT", "Abdomen and Pelvis"),
    "ANKLE": DicomCode("70258002", "SCT", "Ankle joint"),
    "ARM": DicomCode("40983000", "SCT", "Upper arm"),
    "BLADDER": DicomCode("89837001", "SCT", "Bladder"),
    "BRAIN": DicomCode("12738006", "SCT", "Brain"),
    "BREAST": DicomCode("76752008", "SCT", "Breast"),
    "CHEST": DicomCode("816094009", "SCT", "Chest"),
    "CLAVICLE": DicomCode("51299004", "SCT", "Clavicle"),
    "CSPINE": DicomCode("122494005", "SCT", "Cervical spine"),
    "ELBOW": DicomCode("16953009", "SCT", "Elbow joint"),
    "EXTREMITY": DicomCode("66019005", "SCT", "Extremity"),
    "FEMUR": DicomCode("71341001", "SCT", "Femur"),
    "FOOT": DicomCode("56459004", "SCT", "Foot"),
    "FOREARM": DicomCode("14975008", "SCT", "Forearm"),
    "HAND": DicomCode("85562004", "SCT", "Hand"),
    "HEAD": DicomCode("69536005", "SCT", "Head"),
    "HEADNECK": DicomCode("774007", "SCT", "Head and Neck"),
    "HEART": DicomCode("80891009", "SCT", "Heart"),
    "HIP": DicomCode("29836001", "SCT", "Hip"),
    "KIDNEY": DicomCode("64033007", "SCT", "Kidney"),
    "KNEE": DicomCode("72696002", "SCT", "Knee"),
    "LEG": DicomCode("30021000", "SCT", "Lower leg"),
    "LIVER": DicomCode("10200004", "SCT", "Liver"),
    "LSPINE": DicomCode("122496007", "SCT", "Lumbar spine"),
    "LUNG": DicomCode("39607008", "SCT", "Lung"),
    "NECK": DicomCode("45048000", "SCT", "Neck"),
    "PANCREAS": DicomCode("15776009", "SCT", "Pancreas"),
    "PELVIS": DicomCode("816092008", "SCT", "Pelvis"),
    "PROSTATE": DicomCode("41216001", "SCT", "Prostate"),
    "SHOULDER": DicomCode("16982005", "SCT", "Shoulder"),
    "SKULL": DicomCode("89546000", "SCT", "Skull"),
    "SPINE": DicomCode("421060004", "SCT", "Spine"),
    "THIGH": DicomCode("68367000", "SCT", "Thigh"),
    "THYROID": DicomCode("69748006", "SCT", "Thyroid"),
    "TSPINE": DicomCode("122495006", "SCT", "Thoracic spine"),
    "WRIST": DicomCode("74670003", "SCT", "Wrist joint"),
}
# Laterality and its kin (PS3.3 C.7.3.1, C.8.11.4) to PS3.16 CID 244; "U" is an unpaired part.
_SIDES = {
    "B": DicomCode("51440002", "SCT", "Bilateral"),
    "L": DicomCode("7771000", "SCT", "Left"),
    "R": DicomCode("24028007", "SCT", "Right"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A coded region of the body, and its side where that is known."""

    region: DicomCode
    side: DicomCode | None


def place_of(site: Site | None, source: Dataset) -> Place | None:
    """Return the organ that something lies in where that is known, else the region that a header states, else None.

    The side that a header states is the organ's only where it states that organ.
    """
    region, side = anatomic_region(source), laterality(source)
    if site is None:
        return Place(region, side) if region else None
    organ = _coded(site.concept)
    if site.laterality is not None:
        return Place(organ, _coded(site.laterality))
    return Place(organ, side if region is not None and region == organ else None)


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


def laterality(dataset: Dataset) -> DicomCode | None:
    """Return the coded side of the body that a header states, else None."""
    return _SIDES.get(stated_side(dataset))


def state_laterality(dataset: Dataset, source: Dataset) -> None:
    """Give a series of our own the side that its source states; empty where it states none (PS3.3 C.7.3.1, type 2C)."""
    side = stated_side(source)
    dataset.Laterality = side if side in ("L", "R") else ""


def stated_side(dataset: Dataset) -> str:
    """Return L, R or B as a header states it, the image's own before its series', else an empty text."""
    frame = _frame_anatomy(dataset) or Dataset()
    stated = (frame.get("FrameLaterality"), dataset.get("ImageLaterality"), dataset.get("Laterality"))
    return next((side for value in stated if (side := str(value or "").strip().upper()) in _SIDES), "")


def _frame_anatomy(dataset: Dataset) -> Dataset | None:
    shared = dataset.get("SharedFunctionalGroupsSequence")
    anatomy = shared[0].get("FrameAnatomySequence") if shared else None
    return anatomy[0] if anatomy else None


def _coded(code: Code) -> DicomCode:
    return DicomCode(code.value, code.scheme, code.meaning)


def _stated_code(item: Dataset) -> DicomCode | None:
    """Return a SNOMED CT code as it stands; older designators (SRT, SNM3) are left to the body part."""
    if item.get("CodingSchemeDesignator") != "SCT" or not item.get("CodeValue") or not item.get("CodeMeaning"):
        return None
    return DicomCode(str(item.CodeValue), "SCT", str(item.CodeMeaning))
