"""The patient of an announcement as HL7 v2: PID from what the images say, PV1 from what the policy looked at."""

from __future__ import annotations

from collections.abc import Mapping

import hl7
from pydicom.valuerep import PersonName

from dicom_gateway.announcing.announcement import Announcement
from dicom_gateway.announcing.hl7_fields import Component, Repetition, can_encode, segment
from dicom_gateway.announcing.options import Hl7Options
from storage.care_settings import CareSetting

_SEXES = {"M": "M", "F": "F", "O": "O", "": ""}
"""DICOM's values (PS3.3 C.7.1.1) as HL7 table 0001 has them; any other is U, unknown."""
_CLASSES: Mapping[CareSetting | None, str] = {
    CareSetting.EMERGENCY: "E",
    CareSetting.INPATIENT: "I",
    CareSetting.OUTPATIENT: "O",
    None: "U",
}
"""HL7 table 0004: the class of a patient's visit; U is unknown."""
_GROUPS = ("A", "I", "P")
"""HL7 table 0465: how DICOM's three component groups write a name (PS3.5 6.2.1.2)."""


def patient_segment(announcement: Announcement, options: Hl7Options) -> hl7.Segment:
    """Return PID; empty but for its number where nothing is known of the patient."""
    patient = announcement.patient
    if patient is None:
        return segment("PID", {1: "1"})
    birth = patient.birth_date
    return segment(
        "PID",
        {
            1: "1",
            3: (patient.patient_id, "", "", _authority(patient.issuer, options), "PI"),
            5: list(_names(patient.name, options)),
            7: "" if birth is None else f"{birth:%Y%m%d}",
            8: _SEXES.get(patient.sex.strip().upper(), "U"),
        },
    )


def visit_segment(announcement: Announcement) -> hl7.Segment:
    """Return PV1 with the patient's class, which has to be there."""
    return segment("PV1", {1: "1", 2: _CLASSES[announcement.setting]})


def _authority(issuer: str, options: Hl7Options) -> Component:
    """Return who assigned the patient's id (HD): the images' issuer, or the one of the options, as NAME&OID&ISO."""
    return (issuer,) if issuer else tuple(options.assigning_authority.split("&"))


def _names(text: str, options: Hl7Options) -> list[Repetition]:
    """Return a name as XPN, once for each way that it is written and that the character set can write."""
    name = PersonName(text)
    groups = zip(_GROUPS, (name.alphabetic, name.ideographic, name.phonetic), strict=True)
    written = [(kind, group) for kind, group in groups if group.strip("^ ")]
    kept = [one for one in written if can_encode(one[1], options.character_set)] or written[:1]
    return [_name(kind, group) for kind, group in kept] or [""]


def _name(kind: str, group: str) -> Repetition:
    """Return one component group of PN as XPN, which has suffix and prefix the other way round."""
    family, given, middle, prefix, suffix, *_ = [*group.split("^"), "", "", "", "", ""]
    return family, given, middle, suffix, prefix, "", "L", kind
