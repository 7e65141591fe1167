"""Elements of FHIR R4 from plain values: codings, identifiers, references, and who a resource is."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from dicom_gateway.announcing.announcement import Announcement
from dicom_gateway.announcing.concepts import LOCAL_SCHEME, Measured
from dicom_gateway.announcing.options import FhirOptions
from dicom_gateway.announcing.readable_text import readable
from dicom_gateway.objects.codes import PRIVATE_SCHEME
from storage.domain import Code

Json = dict[str, Any]

DICOM_UIDS = "urn:dicom:uid"
_UCUM = "http://unitsofmeasure.org"
_IDENTIFIER_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
_SYSTEMS: Mapping[str, str] = MappingProxyType(
    {
        "SCT": "http://snomed.info/sct",
        "LN": "http://loinc.org",
        "DCM": "http://dicom.nema.org/resources/ontology/DCM",
        "UCUM": _UCUM,
        "RADLEX": "http://radlex.org",
        "FMA": "http://purl.org/sig/ont/fma",
        PRIVATE_SCHEME: "urn:oncue:concepts",
        LOCAL_SCHEME: "urn:oncue:labels",
    }
)
"""URIs of coding schemes (PS3.16 8, table 8-1)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a resource is, whoever writes it and how often: its type, and an identifier that comes of its study.

    ``id`` is a UUID; a receiver that takes ids of clients has the resource under it.
    """

    type: str
    id: str
    system: str

    @classmethod
    def of(cls, type_: str, part: str, *, study: str, system: str) -> Identity:
        """Return who the part of a study's result is."""
        return cls(type_, str(uuid.uuid5(uuid.NAMESPACE_OID, f"{type_} {part} {study}")), system)

    def identifier(self) -> Json:
        """Return the identifier that finds it."""
        return {"system": self.system, "value": self.id}

    def query(self) -> str:
        """Return the search that finds it and nothing else, relative to the base (FHIR R4 3.1.1.5.6)."""
        return f"{self.type}?{urlencode({'identifier': f'{self.system}|{self.id}'})}"

    def reference(self, options: FhirOptions) -> Json:
        """Return a reference to it: by its id, or by the address that it has inside one transaction."""
        return {"reference": f"{self.type}/{self.id}" if options.use_put else self.urn()}

    def urn(self) -> str:
        """Return the address that it has inside a transaction."""
        return f"urn:uuid:{self.id}"


def known(values: Json) -> Json:
    """Return elements without those that are empty, at any depth: FHIR has no empty values (FHIR R4 2.6.2)."""
    return {name: kept for name, value in values.items() if (kept := _kept(value)) not in (None, "", [], {})}


def listed(value: Json | None) -> list[Json]:
    """Return an element that may be there as the list that it stands in."""
    return [] if value is None else [value]


def concept(code: Code) -> Json:
    """Return a code as a CodeableConcept; a scheme without a known URI is left out and its code kept."""
    coding: Json = {"code": readable(code.value), "display": readable(code.meaning) or code.value}
    system = _SYSTEMS.get(code.scheme)
    return {"coding": [coding if system is None else {"system": system, **coding}], "text": coding["display"]}


def coded(system: str, code: str) -> Json:
    """Return one of FHIR's own codes as a CodeableConcept."""
    return {"coding": [{"system": system, "code": code}]}


def quantity(measured: Measured) -> Json:
    """Return a number with its unit of UCUM."""
    unit = measured.unit
    return {"value": str(measured.value), "unit": unit.meaning, "system": _UCUM, "code": unit.value}


def uid_identifier(uid: str) -> Json:
    """Return a DICOM UID as an identifier (FHIR R4 10.6.5)."""
    return {"system": DICOM_UIDS, "value": f"urn:oid:{uid}"}


def study_reference(announcement: Announcement) -> Json:
    """Return a reference to the study's ImagingStudy, wherever the receiver keeps it."""
    return {"type": "ImagingStudy", "identifier": uid_identifier(announcement.study_instance_uid)}


def order_reference(announcement: Announcement, options: FhirOptions) -> Json | None:
    """Return a reference to the order by its accession number, None where that is not known or not to be told."""
    number = readable(announcement.accession_number or "")
    if not number:
        return None
    return {"type": "ServiceRequest", "identifier": _typed("ACSN", number, options.accession_system)}


def patient_reference(announcement: Announcement, options: FhirOptions) -> Json | None:
    """Return a reference to the patient by the hospital's id, None where that is not known or not to be told.

    The system is that of the options, or else the issuer of the images where that is an OID or a URI.
    """
    patient = announcement.patient
    number = "" if patient is None else readable(patient.patient_id)
    if patient is None or not number:
        return None
    system = options.patient_system or _system(readable(patient.issuer))
    found: Json = {"type": "Patient", "identifier": _typed("MR", number, system)}
    name = readable(patient.name.partition("=")[0].replace("^", " "))
    return {**found, "display": name} if name else found


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return known(value)
    return [_kept(one) for one in value] if isinstance(value, list) else value


def _typed(kind: str, value: str, system: str) -> Json:
    found: Json = {"type": coded(_IDENTIFIER_TYPES, kind), "value": value}
    return {**found, "system": system} if system else found


def _system(issuer: str) -> str:
    """Return an issuer as a URI, empty where it is neither that nor an OID."""
    parts = issuer.split(".")
    if len(parts) > 1 and all(part.isascii() and part.isdigit() for part in parts):
        return f"urn:oid:{issuer}"
    return issuer if issuer.startswith(("urn:", "https://", "http://")) and " " not in issuer else ""
