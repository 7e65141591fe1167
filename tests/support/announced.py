"""Announcements and channels as senders are given them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
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
from storage.care_settings import CareSetting
from storage.domain import Code, Presence, Priority

ARRIVED = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
GROUP_KEY = "5e" * 32
PATIENT = AnnouncedPatient("PATIENT-17", "HOSPITAL", "Größe^Zoë", date(1961, 7, 4), "F")
PATIENT_WORDS = ("PATIENT-17", "HOSPITAL", "Größe", "Zoë", "1961", "ACC-99", "2026-02-28")
"""What must be nowhere in a message to a channel that may not have patient data."""

FINDING = AnnouncedFinding(
    number=1,
    concept=Code("52988006", "SCT", "Lesion"),
    presence=Presence.PRESENT,
    confidence=0.8765,
    volume_ml=12.3456,
    longest_diameter_mm=31.25,
    tracking_uid="2.25.171",
    label="high-grade glioma",
)


def announced(priority: Priority | None = Priority.STAT, number: int = 1, **changes: Any) -> Announcement:
    """Return an announcement with all that there can be in one, patient data among it."""
    announcement = Announcement(
        key=f"{number:064x}",
        level=AnnouncementLevel.FIRST,
        study_instance_uid=f"2.25.{1000 + number}",
        revision=1,
        route="head-mr",
        priority=priority,
        previous=None,
        rule="large lesion",
        policy_sha256="ab" * 32,
        algorithm="oncue head 1.2",
        arrived_at=ARRIVED,
        analysed_at=ARRIVED + timedelta(seconds=40),
        announced_at=ARRIVED + timedelta(seconds=41),
        findings=() if priority is None else (FINDING,),
        objects=(AnnouncedObject("1.2.840.10008.5.1.4.1.1.88.34", "2.25.88", "2.25.89"),),
        modalities=("MR",),
        setting=CareSetting.EMERGENCY,
        study_date=date(2026, 2, 28),
        patient=PATIENT,
        accession_number="ACC-99",
        page=f"https://oncue.hospital.example/studies/{number}",
    )
    return replace(announcement, **changes)


def channel_to(kind: ChannelKind, address: str, options: ChannelOptions, **changes: Any) -> Channel:
    """Return a channel of a kind; without patient data, to a receiver in the own network, with some patience."""
    channel = Channel(
        name="night-shift",
        kind=kind,
        address=address,
        patient_data=False,
        private_network=True,
        options=options,
        secret=None,
        seconds=5.0,
    )
    return replace(channel, **changes)
