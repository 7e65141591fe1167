"""Announcements to a FHIR R4 server: in one transaction, or each resource put under an id of ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.task import Task

from dicom_gateway.announcing.announcement import TAKEN, Announcement, Answer, Channel, Verdict
from dicom_gateway.announcing.fhir_answer import judged, judged_transaction, read
from dicom_gateway.announcing.fhir_resources import Written, findings_named, report_identity, result_resources
from dicom_gateway.announcing.fhir_service import FhirService, ServiceDeclined
from dicom_gateway.announcing.fhir_task import reading_task, task_identity, version_of
from dicom_gateway.announcing.one_by_one import told_one_by_one
from dicom_gateway.announcing.options import FhirOptions
from dicom_gateway.errors import GatewayError, PeerAnswerInvalid
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.announcing.tables import AnnouncementLevel
from storage.database import utc_now
from storage.errors import ConfigurationError

_R4 = ("4.0", "4.3")


class FhirSender:
    """Writes DiagnosticReport and Observations, and a Task where the channel's options ask for one."""

    def __init__(self, tls: DestinationTls | None = None) -> None:
        self._tls = tls

    def send(self, channel: Channel, announcements: Sequence[Announcement], group_key: str) -> Answer:
        """Send announcements one after the other: each is a transaction of its own, and a repeat writes the same."""
        del group_key  # the resources' identifiers say what is the same
        return told_one_by_one(announcements, partial(self._told, channel))

    def probe(self, channel: Channel) -> Answer:
        """Ask for the server's CapabilityStatement: whether it speaks R4, and takes transactions where we send them."""
        options = cast("FhirOptions", channel.options)
        try:
            answer = FhirService.of(channel, self._tls).get(options.metadata_path)
            verdict = judged(answer, now=utc_now())
            if verdict.verdict is not Verdict.TAKEN:
                return verdict
            return _capable(read(CapabilityStatement, answer.body), options)
        except (GatewayError, ConfigurationError) as error:
            return Answer(Verdict.FAILED, error.code, str(error))

    def _told(self, channel: Channel, announcement: Announcement) -> Answer:
        try:
            service = FhirService.of(channel, self._tls)
        except ConfigurationError as error:
            return Answer(Verdict.FAILED, error.code, str(error), reached=False)
        try:
            return _written(service, announcement, cast("FhirOptions", channel.options))
        except ServiceDeclined as error:
            return error.answer
        except PeerAnswerInvalid as error:
            return Answer(Verdict.FAILED, error.code, str(error))
        except (GatewayError, ConfigurationError) as error:
            return Answer(Verdict.FAILED, error.code, str(error), reached=service.was_written_to)


def _written(service: FhirService, announcement: Announcement, options: FhirOptions) -> Answer:
    """Write what an announcement says over what the server has of it; GatewayError."""
    before = None
    if announcement.level is AnnouncementLevel.CHANGE:
        before = service.present(DiagnosticReport, report_identity(announcement, options), options)
    findings_before = 0 if before is None else findings_named(before)
    resources = result_resources(announcement, options, findings_before=findings_before)
    version = None
    if options.create_task:
        present = service.present(Task, task_identity(announcement, options), options)
        resources.append(reading_task(announcement, options, present=present))
        version = None if present is None else version_of(present)
    if options.use_put:
        return _put(service, resources, version)
    bundle = transaction(resources, version)
    answer = service.write("POST", options.transaction_path, bundle)
    return judged_transaction(answer, entries=len(resources), now=utc_now())


def _put(service: FhirService, resources: Sequence[Written], version: str | None) -> Answer:
    """Put resources one after the other, what others refer to first; the first answer that is not well ends it."""
    for one in resources:
        match = version if one.identity.type == "Task" else None
        answer = service.write("PUT", f"{one.identity.type}/{one.identity.id}", one.resource, version=match)
        verdict = judged(answer, now=utc_now())
        if verdict.verdict is not Verdict.TAKEN:
            return verdict
    return TAKEN


def transaction(resources: Sequence[Written], version: str | None) -> Bundle:
    """Return resources as one transaction of conditional updates: a repeat finds what it wrote (FHIR R4 3.1.0.4.3)."""
    return Bundle.model_validate({"type": "transaction", "entry": [_entry(one, version) for one in resources]})


def _entry(one: Written, version: str | None) -> dict[str, Any]:
    content = one.resource.model_dump(mode="json")
    identifier = content.pop("id")
    request = {"method": "PUT", "url": one.identity.query()}
    if version is not None and one.identity.type == "Task":
        # The one that was read, under the server's own id.
        content["id"] = identifier
        request = {"method": "PUT", "url": f"Task/{identifier}", "ifMatch": version}
    return {"fullUrl": one.identity.urn(), "resource": content, "request": request}


def _capable(statement: CapabilityStatement, options: FhirOptions) -> Answer:
    version = str(statement.fhirVersion or "")
    if not version.startswith(_R4):
        shown = version if version.replace(".", "").isalnum() else "another version"
        return Answer(Verdict.REFUSED, "fhir_version", f"the service speaks FHIR {shown[:16]}, and R4 (4.0.1) is sent")
    stated = [one.code for rest in statement.rest or () for one in rest.interaction or ()]
    if stated and not options.use_put and "transaction" not in stated:
        return Answer(
            Verdict.REFUSED, "fhir_no_transactions", "the service takes no transactions: set --option use_put=true"
        )
    return TAKEN
