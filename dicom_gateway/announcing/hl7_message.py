"""Announcements as HL7 v2 messages: ORU^R01 with the result, and ORM^O01 with the order's priority.

An ORU is a snapshot: all that stands is in it, under the same order number, so that it replaces what was sent before.
Results are preliminary (OBR-25, OBX-11: P), and corrections C; D takes a priority away (HL7 tables 0123 and 0085).
The control id (MSH-10) comes from the announcement's key, so that a receiver knows a repeat.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import hl7

from dicom_gateway.announcing import concepts
from dicom_gateway.announcing.announcement import AnnouncedFinding, Announcement
from dicom_gateway.announcing.hl7_fields import Field, coded, cut, header, message, segment, timestamp
from dicom_gateway.announcing.hl7_patient import patient_segment, visit_segment
from dicom_gateway.announcing.options import Hl7Options
from dicom_gateway.announcing.remarks import remarks
from storage.announcing.tables import AnnouncementLevel
from storage.domain import Code, Priority

_CONTROL_ID_CHARACTERS = 20
"""MSH-10 is so long before version 2.6."""
_WITH_TIMING = (2, 5)
"""The version from which on TQ1 tells when, and CWE is a type of observations."""
_WITHOUT_QUANTITY = (2, 7)
"""The version from which on the fields that TQ1 took the place of, ORC-7 and OBR-27, are gone."""
_ORDER_PRIORITIES = {
    Priority.STAT: ("S", "Stat"),
    Priority.HIGH: ("A", "As soon as possible"),
    Priority.ROUTINE: ("R", "Routine"),
    Priority.LOW: ("R", "Routine"),
}
"""Of HL7 tables 0485 and 0027, which have nothing below routine."""


def result_message(announcement: Announcement, options: Hl7Options) -> hl7.Message:
    """Return an announcement as ORU^R01; it must say whose study it is."""
    segments = [
        _header(announcement, options, ("ORU", "R01", "ORU_R01")),
        patient_segment(announcement, options),
        visit_segment(announcement),
        segment("ORC", {1: "RE", 3: _order_number(announcement)}),
        _request(announcement),
        *(segment("NTE", {1: str(at), 2: "L", 3: text}) for at, text in enumerate(remarks(announcement), 1)),
        *_observations(announcement, options),
    ]
    return message(segments)


def order_message(announcement: Announcement, options: Hl7Options) -> hl7.Message:
    """Return the priority of an announcement as ORM^O01, for the order that its accession number names.

    A priority that was taken away makes the order a routine one: what it was before is not known here.
    """
    value, meaning = _ORDER_PRIORITIES[announcement.priority or Priority.ROUTINE]
    order = _order_number(announcement)
    quantity: Field = ("", "", "", "", "", value) if _version(options) < _WITHOUT_QUANTITY else ""
    segments = [
        _header(announcement, options, ("ORM", "O01", "ORM_O01")),
        patient_segment(announcement, options),
        visit_segment(announcement),
        segment("ORC", {1: "XO", 3: order, 7: quantity, 9: timestamp(announcement.announced_at)}),
    ]
    if _version(options) >= _WITH_TIMING:
        segments.append(segment("TQ1", {1: "1", 9: (value, meaning, "HL70485")}))
    segments.append(segment("OBR", {1: "1", 3: order, 4: coded(concepts.DIAGNOSTIC_IMAGING), 18: order, 27: quantity}))
    return message(segments)


def control_id(key: str, kind: str) -> str:
    """Return the control id (MSH-10) of an announcement's message of a kind: the same for each repeat."""
    digest = hashlib.sha256(f"{kind} {key}".encode()).digest()
    return base64.b32encode(digest).decode("ascii")[:_CONTROL_ID_CHARACTERS]


def _header(announcement: Announcement, options: Hl7Options, kind: tuple[str, str, str]) -> hl7.Segment:
    return header(
        {
            3: options.sending_application,
            4: options.sending_facility,
            5: options.receiving_application,
            6: options.receiving_facility,
            7: timestamp(announcement.announced_at),
            9: kind,
            10: control_id(announcement.key, kind[0]),
            11: "P",
            12: options.version,
            18: options.character_set,
        }
    )


def _order_number(announcement: Announcement) -> Field:
    """Return what the receiver files the result under: the accession number, or the study's UID where there is none."""
    return announcement.accession_number or announcement.study_instance_uid


def _request(announcement: Announcement) -> hl7.Segment:
    date = announcement.study_date
    return segment(
        "OBR",
        {
            1: "1",
            3: _order_number(announcement),
            4: coded(concepts.DIAGNOSTIC_IMAGING),
            7: "" if date is None else f"{date:%Y%m%d}",
            18: announcement.accession_number or "",
            22: timestamp(announcement.analysed_at),
            24: "RAD",
            25: "P",
        },
    )


def _observations(announcement: Announcement, options: Hl7Options) -> Iterator[hl7.Segment]:
    """Yield the observations in order, numbered; a finding's stand together under its sub-id (OBX-4)."""
    numbered = enumerate(_stated(announcement, options), 1)
    status = _status(announcement)
    for at, fields in numbered:
        yield segment("OBX", {1: str(at), 11: status, 14: timestamp(announcement.analysed_at), **fields})


def _stated(announcement: Announcement, options: Hl7Options) -> Iterator[dict[int, Field]]:
    kind = _coded_type(options)
    priority = announcement.priority
    value = "" if priority is None else coded(concepts.priority_value(priority))
    flag = concepts.abnormal_flag(priority)
    yield {2: kind, 3: coded(concepts.READING_PRIORITY), 5: value, 8: flag}
    if priority is not None:
        yield _text(concepts.TRIAGE_RULE, announcement.rule)
        yield _text(concepts.TRIAGE_POLICY, announcement.policy_sha256)
    for at, finding in enumerate(announcement.findings, 1):
        yield from ({4: str(at), **fields} for fields in _of_finding(finding, announcement, kind))
    if announcement.algorithm.strip():
        yield _text(concepts.ALGORITHM, announcement.algorithm)
    yield _text(concepts.STUDY_UID, announcement.study_instance_uid)
    for at, one in enumerate(announcement.objects, 1):
        yield {4: str(at), **_text(concepts.RESULT_OBJECT, one.sop_instance_uid)}
    if announcement.page is not None:
        yield _text(concepts.STUDY_PAGE, announcement.page)


def _of_finding(finding: AnnouncedFinding, announcement: Announcement, kind: str) -> Iterator[dict[int, Field]]:
    flag = concepts.finding_flag(finding, announcement.priority)
    stated, label = concepts.stated(finding), concepts.labelled(finding)
    yield {2: kind, 3: coded(finding.concept), 5: coded(stated), 8: flag}
    for one in concepts.measured(finding):
        yield {2: "NM", 3: coded(one.concept), 5: str(one.value), 6: coded(one.unit)}
    if label is not None and label != stated:
        yield {2: kind, 3: coded(concepts.CLASS), 5: coded(label)}
    if finding.tracking_uid:
        yield _text(concepts.TRACKING_UID, finding.tracking_uid)


def _text(concept: Code, text: str) -> dict[int, Field]:
    return {2: "ST", 3: coded(concept), 5: cut(text)}


def _status(announcement: Announcement) -> str:
    if announcement.priority is None:
        return "D"
    return "C" if announcement.level is AnnouncementLevel.CHANGE else "P"


def _coded_type(options: Hl7Options) -> str:
    """Return the type of coded values: CE before version 2.5, where CWE came to stand in OBX-2."""
    return "CWE" if _version(options) >= _WITH_TIMING else "CE"


def _version(options: Hl7Options) -> tuple[int, ...]:
    return tuple(map(int, options.version.split(".")))
