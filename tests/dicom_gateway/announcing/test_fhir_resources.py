"""FHIR resources: valid as R4 has them, and saying what the announcement says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fhir.resources.R4B.task import Task
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dicom_gateway.announcing.announcement import AnnouncedPatient, Announcement
from dicom_gateway.announcing.fhir_resources import findings_named, result_resources
from dicom_gateway.announcing.fhir_task import reading_task
from dicom_gateway.announcing.options import FhirOptions
from storage.announcing.tables import AnnouncementLevel
from storage.domain import Priority
from tests.support.announced_studies import FOUND, LABELLED, NOT_FOUND, PATIENT, STUDY, announcement, changed

_OPTIONS = FhirOptions(patient_system="urn:oid:1.2.3", accession_system="https://hospital.example/accession")
_PUT = replace(_OPTIONS, use_put=True)
_ALL_STATES = {
    "DiagnosticReport": "registered partial preliminary final amended corrected appended cancelled entered-in-error"
    " unknown",
    "Observation": "registered preliminary final amended corrected cancelled entered-in-error unknown",
    "Task": "draft requested received accepted rejected ready cancelled in-progress on-hold failed completed"
    " entered-in-error",
}
"""Of R4; the models name the most usual ones."""
_PAIR = (_OPTIONS, _PUT)


def written(what: Announcement, options: FhirOptions = _OPTIONS, *, findings_before: int = 0) -> list[dict[str, Any]]:
    """Return the resources as they go over the wire, the report last, and held against their models again."""
    resources = [one.resource for one in result_resources(what, options, findings_before=findings_before)]
    return [
        checked(json.loads(type(one).model_validate_json(one.model_dump_json()).model_dump_json())) for one in resources
    ]


def checked(resource: dict[str, Any]) -> dict[str, Any]:
    """Return a resource whose codes are all among those that R4 has for their elements."""
    from fhir.resources.R4B import get_fhir_model_class

    wrong = list(_wrong_codes(get_fhir_model_class(resource["resourceType"]).model_validate(resource)))
    assert wrong == []
    return resource


def _wrong_codes(model: BaseModel) -> Iterator[str]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        allowed = _ALL_STATES.get(type(model).__name__) if name == "status" else extra.get("enum_values")
        if (
            isinstance(allowed, list | str)
            and value is not None
            and value not in (allowed.split() if isinstance(allowed, str) else allowed)
        ):
            yield f"{name}={value}"
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, BaseModel):
                yield from _wrong_codes(one)


def status_of(resources: list[dict[str, Any]]) -> set[str]:
    return {one["status"] for one in resources}


def test_the_codes_of_resources_are_really_looked_at() -> None:
    wrong = Task.model_validate({"status": "bogus", "intent": "order", "priority": "statx"})
    assert list(_wrong_codes(wrong)) == ["priority=statx", "status=bogus"]


@pytest.mark.parametrize("options", _PAIR)
def test_a_study_is_a_preliminary_report_with_its_priority_and_findings(options: FhirOptions) -> None:
    priority, finding, report = written(announcement(), options)
    assert status_of([priority, finding, report]) == {"preliminary"}
    assert report["code"]["coding"] == [
        {"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}
    ]
    assert report["imagingStudy"] == [
        {"type": "ImagingStudy", "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}}
    ]
    prefix = "Observation/" if options.use_put else "urn:uuid:"
    assert [one["reference"] for one in report["result"]] == [f"{prefix}{one['id']}" for one in (priority, finding)]
    assert report["conclusion"].startswith("Reading priority STAT by rule large lesion. Preliminary result")
    assert report["presentedForm"][0]["url"] == announcement().page


def test_the_priority_names_its_rule_and_policy() -> None:
    priority, *_ = written(announcement())
    assert priority["valueCodeableConcept"]["coding"][0]["code"] == "STAT"
    assert [one["valueString"] for one in priority["component"]] == ["large lesion", "ab" * 32]
    assert priority["interpretation"][0]["coding"][0]["code"] == "AA"


def test_a_finding_is_coded_and_measured_in_ucum() -> None:
    _, finding, _ = written(announcement())
    assert finding["code"]["coding"][0] == {"system": "http://snomed.info/sct", "code": "52988006", "display": "Lesion"}
    assert finding["valueCodeableConcept"]["coding"][0]["code"] == "52101004"
    volume, diameter, certainty, label = finding["component"]
    assert volume["valueQuantity"] | {"value": 12.35} == {
        "value": 12.35,
        "unit": "milliliter",
        "system": "http://unitsofmeasure.org",
        "code": "ml",
    }
    assert float(diameter["valueQuantity"]["value"]) == 31.2
    assert float(certainty["valueQuantity"]["value"]) == 93.4
    assert label["valueCodeableConcept"]["text"] == "glioma"
    assert {"system": "urn:dicom:uid", "value": "urn:oid:2.25.42"} in finding["identifier"]


def test_what_was_not_found_is_normal_and_a_label_is_not() -> None:
    _, absent, label, _ = written(announcement(priority=Priority.ROUTINE, findings=(NOT_FOUND, LABELLED)))
    assert absent["interpretation"][0]["coding"][0]["code"] == "N"
    assert absent["valueCodeableConcept"]["coding"][0]["code"] == "272519000"
    assert "interpretation" not in label
    assert label["valueCodeableConcept"]["text"] == "pneumonia"


def test_patient_and_order_are_named_by_identifiers_of_the_hospital() -> None:
    for resource in written(announcement()):
        assert resource["subject"]["identifier"]["system"] == "urn:oid:1.2.3"
        assert resource["subject"]["identifier"]["value"] == "4711"
        assert resource["basedOn"][0]["identifier"]["value"] == "ACC-99"
        assert resource["basedOn"][0]["identifier"]["system"] == "https://hospital.example/accession"


def test_without_leave_nothing_of_the_patient_is_told() -> None:
    what = announcement(patient=None, accession_number=None)
    resources = [*written(what), json.loads(reading_task(what, _OPTIONS, present=None).resource.model_dump_json())]
    text = json.dumps(resources)
    assert not any(word in text for word in ("subject", "basedOn", '"for"', "4711", "ller", "ACC-99"))


@pytest.mark.parametrize(
    ("issuer", "system"),
    [
        ("1.2.40.0.13", "urn:oid:1.2.40.0.13"),
        ("https://a.example/mrn", "https://a.example/mrn"),
        ("KIS", None),
        ("", None),
        ("urn:kis\udc80", "urn:kis"),
        ("urn:a\x1b[2J b", None),
    ],
)
def test_an_issuer_is_a_system_where_it_can_be_one(issuer: str, system: str | None) -> None:
    what = announcement(patient=replace(PATIENT, issuer=issuer))
    *_, report = written(what, replace(_OPTIONS, patient_system=""))
    assert report["subject"]["identifier"].get("system") == system


def test_a_study_keeps_its_resources_whatever_is_announced_of_it() -> None:
    first, later = written(announcement()), written(changed(Priority.ROUTINE, Priority.STAT))
    assert [one["id"] for one in first] == [one["id"] for one in later]
    other = written(announcement(study_instance_uid="1.2.3"))
    assert not {one["id"] for one in first} & {one["id"] for one in other}
    assert status_of(later) == {"amended"}


def test_findings_that_no_result_names_any_more_are_withdrawn() -> None:
    before = written(announcement(findings=(FOUND, FOUND, FOUND)))
    later = written(changed(Priority.ROUTINE, Priority.STAT), findings_before=3)
    assert [one["status"] for one in later] == ["amended", "amended", "entered-in-error", "entered-in-error", "amended"]
    assert [one["id"] for one in later] == [one["id"] for one in before]
    assert len(later[-1]["result"]) == 2


def test_a_priority_that_was_taken_away_withdraws_the_report() -> None:
    priority, *findings, report = written(changed(None, Priority.STAT), findings_before=2)
    assert status_of([priority, *findings, report]) == {"entered-in-error"}
    assert "valueCodeableConcept" not in priority
    assert len(findings) == 2


def test_a_report_says_how_many_findings_it_names() -> None:
    for count in (0, 1, 3):
        made = result_resources(announcement(findings=(FOUND,) * count), _OPTIONS)[-1].resource
        assert findings_named(made) == count  # type: ignore[arg-type]  # one of them


def task(what: Announcement, present: dict[str, Any] | None = None, options: FhirOptions = _OPTIONS) -> dict[str, Any]:
    there = None if present is None else Task.model_validate(present)
    made = json.loads(reading_task(what, options, present=there).resource.model_dump_json())
    return checked(made)


@pytest.mark.parametrize(
    ("priority", "code"),
    [(Priority.STAT, "stat"), (Priority.HIGH, "asap"), (Priority.ROUTINE, "routine"), (Priority.LOW, "routine")],
)
def test_a_task_has_the_priority_and_points_at_the_report(priority: Priority, code: str) -> None:
    *_, report = written(announcement(priority=priority), _PUT)
    made = task(announcement(priority=priority), options=_PUT)
    assert (made["priority"], made["status"], made["intent"]) == (code, "requested", "order")
    assert made["focus"] == {"reference": f"DiagnosticReport/{report['id']}"}
    assert made["for"]["identifier"]["value"] == "4711"
    assert {"system": "urn:dicom:uid", "value": "urn:oid:2.25.50"} in [
        one.get("valueIdentifier") for one in made["input"]
    ]


def test_what_a_reader_wrote_into_a_task_stays() -> None:
    taken = task(announcement()) | {"status": "in-progress", "owner": {"display": "Dr. B"}, "meta": {"versionId": "4"}}
    later = task(changed(Priority.ROUTINE, Priority.STAT), taken)
    assert (later["status"], later["owner"], later["priority"]) == ("in-progress", {"display": "Dr. B"}, "routine")
    gone = task(changed(None, Priority.STAT), taken)
    assert (gone["status"], gone["priority"]) == ("in-progress", "stat")


def test_a_task_that_nobody_began_is_cancelled_when_the_priority_goes() -> None:
    assert task(changed(None, Priority.STAT), task(announcement()))["status"] == "cancelled"


def test_a_priority_that_rises_asks_anew_and_a_repeat_does_not() -> None:
    done = task(announcement(priority=Priority.HIGH)) | {"status": "completed"}
    risen = task(changed(Priority.STAT, Priority.HIGH), done)
    assert risen["status"] == "requested"
    taken = risen | {"status": "completed"}
    assert task(changed(Priority.STAT, Priority.HIGH), taken)["status"] == "completed"
    assert task(announcement(level=AnnouncementLevel.ESCALATION, key="7d" * 32), taken)["status"] == "completed"


def test_a_priority_that_comes_back_opens_a_cancelled_task() -> None:
    cancelled = task(changed(None, Priority.STAT), task(announcement()))
    back = announcement(level=AnnouncementLevel.CHANGE, previous=None, key="8c" * 32)
    assert task(back, cancelled)["status"] == "requested"


def test_each_revision_has_a_task_of_its_own() -> None:
    assert task(announcement())["id"] != task(announcement(revision=2))["id"]


@given(text=st.text(max_size=40))
def test_no_text_makes_a_resource_invalid(text: str) -> None:
    patient = AnnouncedPatient(text, text, text, None, text)
    odd = replace(FOUND, label=text, concept=replace(FOUND.concept, meaning=text))
    what = announcement(patient=patient, accession_number=text, rule=text, algorithm=text, findings=(odd,))
    written(what)
    task(what)
