"""What an announcement says to a person who reads it, in sentences without patient data."""

from __future__ import annotations

from dicom_gateway.announcing.announcement import Announcement
from storage.announcing.tables import AnnouncementLevel


def remarks(announcement: Announcement) -> tuple[str, ...]:
    """Return what is to be known of the priority, and, where a result stands, that no person has read it."""
    if announcement.priority is None:
        return (_of_priority(announcement),)
    algorithm = announcement.algorithm.strip() or "an algorithm"
    return _of_priority(announcement), f"Preliminary result of {algorithm}, not read by a person."


def _of_priority(announcement: Announcement) -> str:
    now, before = announcement.priority, announcement.previous
    if now is None:
        earlier = "The reading priority" if before is None else f"The reading priority {before.value}"
        return f"{earlier} no longer stands: a later result took it away."
    if announcement.level is AnnouncementLevel.ESCALATION:
        return f"Reading priority {now.value} by rule {announcement.rule}: nobody has opened the study yet."
    if announcement.level is AnnouncementLevel.CHANGE and before is not None and before is not now:
        return f"Reading priority changed from {before.value} to {now.value} by rule {announcement.rule}."
    return f"Reading priority {now.value} by rule {announcement.rule}."
