"""Announcements and channels for tests of senders: invented studies, whose patients do not exist."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from dicom_gateway.announcing.announcement import (
    AnnouncedFinding,
    AnnouncedObject,
    AnnouncedPatient,
    Announcement,
    Channel,
    ChannelOptions,
)
from storage.announcing.tables import AnnouncementLevel, ChannelKind
from storage.domain import Code, Presence, Priority
from tests.support.announced import announced, channel_to

STUDY = "1.2.826.0.1.3680043.8.498.1"
PATIENT = AnnouncedPatient("4711", "", "Müller^Änne^^Dr.^jr.", date(1960, 2, 29), "F")
LESION = Code("52988006", "SCT", "Lesion")
FOUND = AnnouncedFinding(1, LESION, Presence.PRESENT, 0.934, 12.345, 31.2, "2.25.42", "glioma")
NOT_FOUND = AnnouncedFinding(0, LESION, Presence.ABSENT, 0.97, 0.0, 0.0, "2.25.43", None)
LABELLED = AnnouncedFinding(0, Code("363679005", "SCT", "Imaging"), Presence.ASSESSED, 0.8, 0.0, 0.0, "", "pneumonia")


def announcement(**changes: Any) -> Announcement:
    """Return the announcement of a STAT study with one lesion, and what changes of it."""
    made: dict[str, Any] = {
        "key": "5f" * 32,
        "study_instance_uid": STUDY,
        "algorithm": "zero-shot 1.4.0",
        "analysed_at": datetime(2026, 3, 1, 8, 1, 30, tzinfo=UTC),
        "announced_at": datetime(2026, 3, 1, 8, 1, 31, tzinfo=UTC),
        "findings": (FOUND,),
        "objects": (AnnouncedObject("1.2.840.10008.5.1.4.1.1.88.34", "2.25.50", "2.25.51"),),
        "study_date": date(2026, 3, 1),
        "patient": PATIENT,
        "page": "https://oncue.example/studies/1.2.826.0.1.3680043.8.498.1",
    }
    return announced(**{**made, **changes})


def changed(priority: Priority | None, previous: Priority, **changes: Any) -> Announcement:
    """Return the announcement that another result gave the study a priority, or took it away."""
    kept: dict[str, Any] = {"key": "6e" * 32, "level": AnnouncementLevel.CHANGE} | changes
    if priority is None:
        kept = {"findings": (), "objects": (), "rule": "", "policy_sha256": "", "algorithm": "", "route": ""} | kept
    return announcement(priority=priority, previous=previous, **kept)


def channel(kind: ChannelKind, address: str, options: ChannelOptions, **changes: Any) -> Channel:
    """Return a channel that may have patient data and is patient for some seconds."""
    made: dict[str, Any] = {"name": "ris", "patient_data": True, "seconds": 10.0}
    return channel_to(kind, address, options, **{**made, **changes})
