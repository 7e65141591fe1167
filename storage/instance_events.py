"""Events of single instances in the history: stored, changed, refused, failed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from storage import audit
from storage.arrivals import Arrival, StudyFacts
from storage.models import StudyRow


def of_arrival(study: StudyRow, arrival: Arrival, tag: str, *, now: datetime) -> audit.AuditEvent:
    """Return the event of an instance that was registered: ``instance:stored`` or ``instance:changed``."""
    instance = arrival.instance
    return audit.event(
        tag,
        f"instance/{instance.sop_instance_uid}",
        actor=arrival.origin.calling_aet,
        now=now,
        details={
            "study": instance.study_instance_uid,
            "series": instance.series_instance_uid,
            "revision": study.revision,
            "digest": instance.digest,
            "bytes": instance.size_bytes,
            **_text_note(arrival.facts),
        },
        study=audit.concerned(study),
    )


def record_refused(
    session: Session, *, calling_aet: str, sop_instance_uid: str, code: str, status: int, now: datetime
) -> None:
    """Record that an instance was not accepted, and with which status the sender was told."""
    audit.record(
        session,
        "instance:refused",
        f"instance/{sop_instance_uid}",
        actor=calling_aet,
        now=now,
        details={"code": code, "status": f"0x{status:04X}"},
    )


def record_failed(
    session: Session, *, calling_aet: str, sop_instance_uid: str, code: str, digest: str, now: datetime
) -> None:
    """Record that an image that was accepted could not be registered, and by which name its file is kept."""
    audit.record(
        session,
        "instance:failed",
        f"instance/{sop_instance_uid}",
        actor=calling_aet,
        now=now,
        details={"code": code, "digest": digest},
    )


def _text_note(facts: StudyFacts) -> dict[str, str]:
    """Return what an instance's event says of its text: nothing where that is as it should be."""
    return {"text": facts.text_note} if facts.text_note else {}
