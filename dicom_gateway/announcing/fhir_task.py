"""The reading priority of a study as a FHIR R4 Task, whose state belongs to whoever reads the study.

A reader takes a Task and ends it. What is there is therefore looked at first, and kept: only the priority is ours.
"""

from __future__ import annotations

from types import MappingProxyType

from fhir.resources.R4B.task import Task

from dicom_gateway.announcing import concepts
from dicom_gateway.announcing.announcement import Announcement
from dicom_gateway.announcing.fhir_resources import Written, report_identity
from dicom_gateway.announcing.fhir_values import (
    Identity,
    Json,
    concept,
    known,
    listed,
    order_reference,
    patient_reference,
    study_reference,
    uid_identifier,
)
from dicom_gateway.announcing.options import FhirOptions
from dicom_gateway.announcing.readable_text import readable
from dicom_gateway.announcing.remarks import remarks
from storage.announcing.tables import AnnouncementLevel
from storage.domain import Priority

_PRIORITIES = MappingProxyType(
    {Priority.STAT: "stat", Priority.HIGH: "asap", Priority.ROUTINE: "routine", Priority.LOW: "routine"}
)
"""Of FHIR's request-priority, whose ``asap`` is the A of HL7 v2; it has nothing below routine."""
_REQUESTED, _CANCELLED = "requested", "cancelled"
_OPEN = frozenset({"draft", "requested", "received", "accepted", "ready", "on-hold"})
"""States of a Task that nobody has begun."""


def task_identity(announcement: Announcement, options: FhirOptions) -> Identity:
    """Return who the Task of a revision of a study is."""
    part = f"reading {announcement.revision}"
    return Identity.of("Task", part, study=announcement.study_instance_uid, system=options.identifier_system)


def reading_task(announcement: Announcement, options: FhirOptions, *, present: Task | None) -> Written:
    """Return the Task of an announcement, over the one that is there: what others wrote into that stays."""
    identity = task_identity(announcement, options)
    kept: Json = {} if present is None else present.model_dump(mode="json")
    kept.pop("text", None)  # the server's own words for what was there
    ours = _ours(announcement, options, identity=identity, status=_status(announcement, options, present))
    if announcement.priority is None and present is not None and present.priority is not None:
        ours["priority"] = present.priority
    return Written(identity, Task.model_validate({**kept, **ours, "id": kept.get("id", identity.id)}))


def version_of(task: Task) -> str | None:
    """Return the version of a Task as If-Match takes it, None where the receiver has no versions (FHIR R4 3.1.0.4)."""
    version = None if task.meta is None else task.meta.versionId
    return None if version is None else f'W/"{version}"'


def _ours(announcement: Announcement, options: FhirOptions, *, identity: Identity, status: str) -> Json:
    """Return the elements that are ours; those without a value are left out."""
    return known(
        {
            "identifier": [identity.identifier(), _fact(announcement, options)],
            "basedOn": listed(order_reference(announcement, options)),
            "status": status,
            "intent": "order",
            "priority": _PRIORITIES[announcement.priority or Priority.ROUTINE],
            "code": {"text": "Read the study"},
            "description": " ".join(map(readable, remarks(announcement))),
            "focus": report_identity(announcement, options).reference(options),
            "for": patient_reference(announcement, options),
            "authoredOn": announcement.analysed_at.isoformat(timespec="seconds"),
            "input": _inputs(announcement),
        }
    )


def _status(announcement: Announcement, options: FhirOptions, present: Task | None) -> str:
    """Return the state of the Task: the reader's, unless the priority went, came back or rose since."""
    wanted = _REQUESTED if announcement.priority is not None else _CANCELLED
    if present is None:
        return wanted
    status = str(present.status)
    if _is_repeat(announcement, options, present):
        return status
    if announcement.priority is None:
        return _CANCELLED if status in _OPEN else status
    return _REQUESTED if _has_risen(announcement) else status


def _has_risen(announcement: Announcement) -> bool:
    now, before = announcement.priority, announcement.previous
    if announcement.level is not AnnouncementLevel.CHANGE or now is None:
        return False
    return before is None or now.rank < before.rank


def _is_repeat(announcement: Announcement, options: FhirOptions, present: Task) -> bool:
    fact = _fact(announcement, options)
    return any((one.system, one.value) == (fact["system"], fact["value"]) for one in present.identifier or ())


def _fact(announcement: Announcement, options: FhirOptions) -> Json:
    """Return the identifier of the announcement itself, by which a repeat is known."""
    return {"system": f"{options.identifier_system}:key", "value": announcement.key}


def _inputs(announcement: Announcement) -> list[Json]:
    """Return what a reader needs: the study, the DICOM objects of the result, and the page."""
    found: list[Json] = [{"type": concept(concepts.STUDY_UID), "valueReference": study_reference(announcement)}]
    objects = (uid_identifier(one.sop_instance_uid) for one in announcement.objects)
    found.extend({"type": concept(concepts.RESULT_OBJECT), "valueIdentifier": identifier} for identifier in objects)
    if announcement.page is not None:
        found.append({"type": concept(concepts.STUDY_PAGE), "valueUrl": announcement.page})
    return found
