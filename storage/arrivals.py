"""What comes with an instance: who sent it, what it says of its study, and when it was whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from storage.domain import Lane, StoredInstance


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What the worklist shows of a study; patient data, so it never leaves the database and the pages."""

    patient_id: str = ""
    accession_number: str = ""
    study_date: str = ""
    study_description: str = ""
    text_note: str = ""
    """A code where text could not be read as the image says; it belongs to that image alone, and is no patient data."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sent an instance, over which association, into which lane."""

    calling_aet: str
    association_id: str | None
    lane: Lane = Lane.ROUTINE


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance whose file is durable: what it is, what it says of its study, who sent it, and when it was whole."""

    instance: StoredInstance
    facts: StudyFacts
    origin: Origin
    received_at: datetime
