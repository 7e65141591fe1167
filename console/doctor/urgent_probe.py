"""The probe of urgent studies: whether STAT studies lie unopened for too long, and whether anybody is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from console.triage.durations import spoken
from storage.announcing import unopened_studies
from storage.database import utc_now
from storage.domain import Priority

_SUBJECT = "urgent"


def probe_urgent(installation: Installation) -> Iterator[ExaminedPart]:
    """Count the STAT studies that nobody has opened for longer than the settings allow."""
    now, minutes = utc_now(), installation.settings.console.unopened_minutes
    with installation.read() as session:
        urgent = unopened_studies.waiting(session)
        late = unopened_studies.waiting(session, priority=Priority.STAT, before=now - timedelta(minutes=minutes))
    if late.since is None:
        waiting = f"{urgent.count} STAT and HIGH studies wait to be opened, no STAT one" if urgent.count else "no study"
        yield ExaminedPart(_SUBJECT, PartHealth.FINE, f"{waiting} has waited for longer than {minutes:g} minutes")
        return
    studies = "study" if late.count == 1 else "studies"
    longest = spoken((now - late.since).total_seconds())
    detail = f"{late.count} STAT {studies} unopened for longer than {minutes:g} minutes, one for {longest}"
    yield ExaminedPart(_SUBJECT, PartHealth.REMARK, f"{detail}; see `oncue triage pending`")
