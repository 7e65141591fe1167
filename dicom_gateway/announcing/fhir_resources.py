"""Announcements as FHIR R4 resources: a DiagnosticReport and its Observations.

The models are those of R4B (4.3.0), which has these resources, and Task, as R4 (4.0.1) has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.resource import Resource

from dicom_gateway.announcing import concepts
from dicom_gateway.announcing.announcement import AnnouncedFinding, Announcement
from dicom_gateway.announcing.fhir_values import (
    Identity,
    Json,
    coded,
    concept,
    known,
    listed,
    order_reference,
    patient_reference,
    quantity,
    study_reference,
    uid_identifier,
)
from dicom_gateway.announcing.options import FhirOptions
from dicom_gateway.announcing.readable_text import readable
from dicom_gateway.announcing.remarks import remarks
from storage.announcing.tables import AnnouncementLevel
from storage.domain import Code

_CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"
_SECTIONS = "http://terminology.hl7.org/CodeSystem/v2-0074"
_INTERPRETATIONS = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
_DATA_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_WITHDRAWN = "entered-in-error"


@dataclass(frozen=True, slots=True)
class Written:
    """A resource, and who it is."""

    identity: Identity
    resource: Resource


def report_identity(announcement: Announcement, options: FhirOptions) -> Identity:
    """Return who the report of a study is: one for all that is ever announced of it."""
    return _identity("DiagnosticReport", "report", announcement, options)


def result_resources(announcement: Announcement, options: FhirOptions, *, findings_before: int = 0) -> list[Written]:
    """Return the Observations of an announcement and then its report, which names them.

    ``findings_before`` is how many findings an earlier report named: those beyond the present ones are withdrawn.
    """
    observations = [_priority(announcement, options), *_findings(announcement, options)]
    stale = range(len(announcement.findings) + 1, findings_before + 1)
    identity = report_identity(announcement, options)
    standing = [one.identity for one in observations]
    report = DiagnosticReport.model_validate(_report(announcement, options, identity=identity, results=standing))
    return [*observations, *(_withdrawn(announcement, options, at) for at in stale), Written(identity, report)]


def findings_named(report: DiagnosticReport) -> int:
    """Return how many findings a report names: all of its results but the priority."""
    return max(len(report.result or ()) - 1, 0)


def _report(announcement: Announcement, options: FhirOptions, *, identity: Identity, results: list[Identity]) -> Json:
    page = announcement.page
    return known(
        {
            "id": identity.id,
            "identifier": [identity.identifier()],
            "basedOn": listed(order_reference(announcement, options)),
            "status": _status(announcement),
            "category": [coded(_SECTIONS, "RAD")],
            "code": concept(concepts.DIAGNOSTIC_IMAGING),
            "subject": patient_reference(announcement, options),
            "effectiveDateTime": _effective(announcement),
            "issued": announcement.analysed_at.isoformat(timespec="milliseconds"),
            "result": [one.reference(options) for one in results],
            "imagingStudy": [study_reference(announcement)],
            "conclusion": " ".join(map(readable, remarks(announcement))),
            "presentedForm": None if page is None else [{"contentType": "text/html", "url": page}],
        }
    )


def _priority(announcement: Announcement, options: FhirOptions) -> Written:
    """Return the reading priority, with the rule and the policy that gave it."""
    priority = announcement.priority
    flag = concepts.abnormal_flag(priority)
    rule = {concepts.TRIAGE_RULE: announcement.rule, concepts.TRIAGE_POLICY: announcement.policy_sha256}
    value: Json = (
        {"dataAbsentReason": coded(_DATA_ABSENT, "not-applicable")}
        if priority is None
        else {"valueCodeableConcept": concept(concepts.priority_value(priority)), "component": list(_texts(rule))}
    )
    identity = _identity("Observation", "priority", announcement, options)
    base = _observation(announcement, options, identity, concepts.READING_PRIORITY)
    return Written(identity, Observation.model_validate({**base, **_interpreted(flag), **value}))


def _findings(announcement: Announcement, options: FhirOptions) -> Iterator[Written]:
    for at, finding in enumerate(announcement.findings, 1):
        identity = _finding_identity(announcement, options, at)
        base = _observation(announcement, options, identity, finding.concept)
        if finding.tracking_uid:
            base["identifier"].append(uid_identifier(finding.tracking_uid))
        flag = concepts.finding_flag(finding, announcement.priority)
        value = {"valueCodeableConcept": concept(concepts.stated(finding)), "component": list(_components(finding))}
        yield Written(identity, Observation.model_validate({**base, **_interpreted(flag), **value}))


def _withdrawn(announcement: Announcement, options: FhirOptions, at: int) -> Written:
    """Return what an earlier finding is now that no result names it."""
    identity = _finding_identity(announcement, options, at)
    base = _observation(announcement, options, identity, Code("121071", "DCM", "Finding"))
    absent = {"status": _WITHDRAWN, "dataAbsentReason": coded(_DATA_ABSENT, "not-applicable")}
    return Written(identity, Observation.model_validate({**base, **absent}))


def _observation(announcement: Announcement, options: FhirOptions, identity: Identity, code: Code) -> Json:
    return known(
        {
            "id": identity.id,
            "identifier": [identity.identifier()],
            "basedOn": listed(order_reference(announcement, options)),
            "status": _status(announcement),
            "category": [coded(_CATEGORIES, "imaging")],
            "code": concept(code),
            "subject": patient_reference(announcement, options),
            "effectiveDateTime": _effective(announcement),
            "issued": announcement.analysed_at.isoformat(timespec="milliseconds"),
            "device": {"display": readable(announcement.algorithm)},
            "derivedFrom": [study_reference(announcement)],
        }
    )


def _components(finding: AnnouncedFinding) -> Iterator[Json]:
    for one in concepts.measured(finding):
        yield {"code": concept(one.concept), "valueQuantity": quantity(one)}
    label = concepts.labelled(finding)
    if label is not None and label != concepts.stated(finding):
        yield {"code": concept(concepts.CLASS), "valueCodeableConcept": concept(label)}


def _texts(values: Mapping[Code, str]) -> Iterator[Json]:
    for code, text in values.items():
        if shown := readable(text):
            yield {"code": concept(code), "valueString": shown}


def _interpreted(flag: str) -> Json:
    return {"interpretation": [coded(_INTERPRETATIONS, flag)]} if flag else {}


def _status(announcement: Announcement) -> str:
    """Return the status that a report and its observations have alike."""
    if announcement.priority is None:
        return _WITHDRAWN
    return "amended" if announcement.level is AnnouncementLevel.CHANGE else "preliminary"


def _effective(announcement: Announcement) -> str:
    date = announcement.study_date
    return announcement.analysed_at.isoformat(timespec="seconds") if date is None else date.isoformat()


def _finding_identity(announcement: Announcement, options: FhirOptions, at: int) -> Identity:
    return _identity("Observation", f"finding {at}", announcement, options)


def _identity(type_: str, part: str, announcement: Announcement, options: FhirOptions) -> Identity:
    return Identity.of(type_, part, study=announcement.study_instance_uid, system=options.identifier_system)
