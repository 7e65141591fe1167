"""Who may send what. Pure: settings and bytes in, a decision or a coded refusal out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from dicom_gateway.errors import ObjectMismatch, UndecodableObject
from dicom_gateway.receiving.charsets import decode_text, text_note
from storage.arrivals import StudyFacts
from storage.uids import is_uid

Network = IPv4Network | IPv6Network

_PRINTABLE = re.compile(r"[^\x20-\x7e]")
_DATE = re.compile(r"[0-9]{8}\Z")

CHARACTER_SET, SOP_CLASS, SOP_INSTANCE, STUDY_DATE = 0x00080005, 0x00080016, 0x00080018, 0x00080020
ACCESSION_NUMBER, MODALITY, STUDY_DESCRIPTION = 0x00080050, 0x00080060, 0x00081030
PATIENT_NAME, PATIENT_ID, STUDY_INSTANCE, SERIES_INSTANCE = 0x00100010, 0x00100020, 0x0020000D, 0x0020000E

WANTED = frozenset(
    {
        CHARACTER_SET,
        SOP_CLASS,
        SOP_INSTANCE,
        STUDY_DATE,
        ACCESSION_NUMBER,
        MODALITY,
        STUDY_DESCRIPTION,
        PATIENT_NAME,
        PATIENT_ID,
        STUDY_INSTANCE,
        SERIES_INSTANCE,
    }
)
"""The elements of a data set that are looked at when it arrives."""
_TEXTS = (PATIENT_NAME, PATIENT_ID, STUDY_DESCRIPTION, ACCESSION_NUMBER)
_FACTS = (CHARACTER_SET, STUDY_DATE, *_TEXTS)
_REMEMBERED = 256
"""Studies of which the facts are remembered: the images of one say the same, one after another."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What a C-STORE command and its presentation context say of the instance that follows."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Which study, series and instance a data set belongs to, and what the worklist shows of it."""

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    facts: StudyFacts


def address_allowed(address: str, networks: Iterable[Network]) -> bool:
    """Say whether a peer's address lies in one of the networks; no network at all means that any does."""
    allowed = tuple(networks)
    if not allowed:
        return True
    parsed = ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in allowed)


def safe_title(text: str) -> str:
    """Return an AE title fit for records and logs."""
    return _PRINTABLE.sub("?", text.strip())[:16]


def safe_uid(text: str) -> str:
    """Return a UID fit for records and logs: a value that is none could be anything, a patient's name too."""
    return text if is_uid(text) else "invalid"


def identify(elements: Mapping[int, bytes], request: StoreRequest) -> Identity:
    """Check a data set's own identifiers against the request and return where it belongs.

    UndecodableObject where one is missing or is no UID; ObjectMismatch where the request names another.
    """
    sop_class_uid = _uid(elements, SOP_CLASS, "SOP Class UID")
    sop_instance_uid = _uid(elements, SOP_INSTANCE, "SOP Instance UID")
    if sop_class_uid != request.sop_class_uid:
        raise ObjectMismatch("the data set's SOP Class UID is not the one that came ahead of it")
    if sop_instance_uid != request.sop_instance_uid:
        raise ObjectMismatch("the data set's SOP Instance UID is not the one that came ahead of it")
    return Identity(
        study_instance_uid=_uid(elements, STUDY_INSTANCE, "Study Instance UID"),
        series_instance_uid=_uid(elements, SERIES_INSTANCE, "Series Instance UID"),
        modality=_text(elements, MODALITY, longest=16),
        facts=_facts(tuple(elements.get(tag) for tag in _FACTS)),
    )


@lru_cache(maxsize=_REMEMBERED)
def _facts(values: tuple[bytes | None, ...]) -> StudyFacts:
    """Return what the values of ``_FACTS`` say; None is an element that is missing."""
    elements = {tag: value for tag, value in zip(_FACTS, values, strict=True) if value is not None}
    date = _text(elements, STUDY_DATE, longest=8)
    note = text_note([elements[tag] for tag in _TEXTS if tag in elements], elements.get(CHARACTER_SET, b""))
    return StudyFacts(
        patient_id=_text(elements, PATIENT_ID, longest=64),
        accession_number=_text(elements, ACCESSION_NUMBER, longest=16),
        study_date=date if _DATE.match(date) else "",
        study_description=_text(elements, STUDY_DESCRIPTION, longest=64),
        text_note="" if note is None else note.value,
    )


def _uid(elements: Mapping[int, bytes], tag: int, name: str) -> str:
    text = elements.get(tag, b"").decode("ascii", errors="replace").rstrip(" \0")
    if not text:
        raise UndecodableObject(f"the data set has no {name}")
    if not is_uid(text):
        raise UndecodableObject(f"the {name} of the data set is no UID: 1 to 64 digits and dots")
    return text


def _text(elements: Mapping[int, bytes], tag: int, *, longest: int) -> str:
    return decode_text(elements.get(tag, b""), elements.get(CHARACTER_SET, b""), longest=longest)
