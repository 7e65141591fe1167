"""What announcements of one message say together, and how much of each may be said at all."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from dicom_gateway.announcing.announcement import AnnouncedFinding, Announcement, Channel
from storage.announcing.tables import AnnouncementLevel
from storage.domain import Presence, Priority

_WITHDRAWN = "withdrawn"
_LONGEST_TEXT = 200
_MOST_FINDINGS = 5


def permitted(announcements: Sequence[Announcement], channel: Channel) -> tuple[Announcement, ...]:
    """Return announcements without what a channel may not know: the patient, and what a calendar would lead to."""
    if channel.patient_data:
        return tuple(announcements)
    return tuple(replace(one, patient=None, accession_number=None, study_date=None) for one in announcements)


def most_urgent_first(announcements: Sequence[Announcement]) -> tuple[Announcement, ...]:
    """Return announcements by urgency, those that nobody opened first, and what was taken back last."""
    return tuple(sorted(announcements, key=_rank))


def headline(announcements: Sequence[Announcement]) -> str:
    """Return what a group is about in one line: ``STAT: 2 studies, HIGH: 1 study``."""
    counts = Counter("" if one.priority is None else one.priority.value for one in announcements)
    parts = [f"{name}: {_studies(counts[name])}" for name in (*Priority, "") if name and counts[name]]
    if counts[""]:
        parts.append(f"{_WITHDRAWN}: {_studies(counts[''])}")
    unopened = sum(one.level is AnnouncementLevel.ESCALATION for one in announcements)
    return ", ".join(parts) + (f" ({unopened} not opened in time)" if unopened else "")


def sentence(announcement: Announcement) -> str:
    """Return why an announcement is made."""
    before = "" if announcement.previous is None else f" It was announced as {announcement.previous}."
    if announcement.priority is None:
        return f"The priority is withdrawn: a later result took it away.{before}"
    if announcement.level is AnnouncementLevel.ESCALATION:
        return "Nobody has opened this study in time."
    if announcement.level is AnnouncementLevel.CHANGE:
        return f"A later result changed the priority.{before}"
    return "A result gave the study this priority."


def finding_words(announcement: Announcement) -> tuple[str, ...]:
    """Return a line for each finding, the largest first; those beyond five are counted."""
    largest = sorted(announcement.findings, key=lambda one: (-one.volume_ml, -one.longest_diameter_mm, one.number))
    lines = [_finding(one) for one in largest[:_MOST_FINDINGS]]
    rest = len(largest) - len(lines)
    return (*lines, *([f"and {rest} more"] if rest else []))


def one_line(text: str, longest: int = _LONGEST_TEXT) -> str:
    """Return text that can stand in one line of anything: without breaks, control and format characters, and cut."""
    kept = "".join(" " if unicodedata.category(each)[0] in "CZ" else each for each in text)
    return " ".join(kept.split())[:longest]


def _finding(finding: AnnouncedFinding) -> str:
    parts = [one_line(finding.concept.meaning)]
    if finding.label is not None:
        parts.append(one_line(finding.label))
    if finding.presence is not Presence.ASSESSED:
        parts.append(finding.presence.value)
    if finding.volume_ml > 0.0:
        parts.append(f"{finding.volume_ml:.{1 if finding.volume_ml >= 1.0 else 2}f} ml")
    if finding.longest_diameter_mm > 0.0:
        parts.append(f"{finding.longest_diameter_mm:.0f} mm")
    return f"{', '.join(parts)} (certainty {finding.confidence:.0%})"


def _studies(number: int) -> str:
    return "1 study" if number == 1 else f"{number} studies"


def _rank(announcement: Announcement) -> tuple[int, bool, str]:
    rank = len(Priority) if announcement.priority is None else announcement.priority.rank
    return rank, announcement.level is not AnnouncementLevel.ESCALATION, announcement.analysed_at.isoformat()
