"""The JSON of a webhook: one object for each request, with the announcements of one group.

Version 1. Names and types of what is there stay; names may be added, and a receiver passes over those that it does not
know. Moments are in UTC by RFC 3339.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from dicom_gateway.announcing.announcement import (
    AnnouncedFinding,
    AnnouncedObject,
    AnnouncedPatient,
    Announcement,
    Channel,
)
from dicom_gateway.announcing.grouping_words import most_urgent_first, permitted

VERSION = 1


def webhook_body(channel: Channel, announcements: Sequence[Announcement], group_key: str) -> bytes:
    """Return the body of a request, most urgent first; without announcements it is a trial of the channel.

    What the channel may not know is left out, not empty. The same group gives the same bytes.
    """
    told = most_urgent_first(permitted(announcements, channel))
    document = {
        "version": VERSION,
        "kind": "announcements" if told else "trial",
        "channel": channel.name,
        "key": group_key,
        "announcements": [_announcement(one) for one in told],
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def _announcement(announcement: Announcement) -> dict[str, Any]:
    known: dict[str, Any] = {
        "accession_number": announcement.accession_number,
        "page": announcement.page,
        "patient": None if announcement.patient is None else _patient(announcement.patient),
        "study_date": None if announcement.study_date is None else announcement.study_date.isoformat(),
    }
    return {
        **{name: value for name, value in known.items() if value is not None},
        "algorithm": announcement.algorithm,
        "analysed_at": _moment(announcement.analysed_at),
        "announced_at": _moment(announcement.announced_at),
        "arrived_at": _moment(announcement.arrived_at),
        "findings": [_finding(one) for one in announcement.findings],
        "key": announcement.key,
        "level": announcement.level.value,
        "modalities": list(announcement.modalities),
        "objects": [_object(one) for one in announcement.objects],
        "policy_sha256": announcement.policy_sha256,
        "previous": announcement.previous and announcement.previous.value,
        "priority": announcement.priority and announcement.priority.value,
        "revision": announcement.revision,
        "route": announcement.route,
        "rule": announcement.rule,
        "setting": announcement.setting and announcement.setting.value,
        "study_instance_uid": announcement.study_instance_uid,
    }


def _finding(finding: AnnouncedFinding) -> dict[str, Any]:
    concept = finding.concept
    return {
        "code": {"meaning": concept.meaning, "scheme": concept.scheme, "value": concept.value},
        "confidence": round(finding.confidence, 4),
        "label": finding.label,
        "longest_diameter_mm": round(finding.longest_diameter_mm, 2) or None,
        "number": finding.number,
        "presence": finding.presence.value,
        "tracking_uid": finding.tracking_uid,
        "volume_ml": round(finding.volume_ml, 4) or None,
    }


def _object(item: AnnouncedObject) -> dict[str, Any]:
    return {
        "series_instance_uid": item.series_instance_uid,
        "sop_class_uid": item.sop_class_uid,
        "sop_instance_uid": item.sop_instance_uid,
    }


def _patient(patient: AnnouncedPatient) -> dict[str, Any]:
    return {
        "birth_date": None if patient.birth_date is None else patient.birth_date.isoformat(),
        "id": patient.patient_id,
        "issuer": patient.issuer,
        "name": patient.name,
        "sex": patient.sex,
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
