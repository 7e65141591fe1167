"""Events of the audit trail as tests make them, and the schema that their messages are held against."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import xmlschema

from dicom_gateway.audit_messages.participants import AuditSource
from storage.audit import AuditEvent, Outcome

SOURCE = AuditSource("ONCUE", "oncue-test")
STUDY = "1.2.826.0.1.3680043.8.498.1"
PATIENT_KEY = "0123456789abcdef0123456789abcdef"

_SCHEMA = Path(__file__).with_name("audit-message.xsd")


def event(
    tag: str, subject: str = f"study/{STUDY}", *, actor: str = "CT1", **details: str | float | None
) -> AuditEvent:
    """Return an event of the test's study."""
    return AuditEvent(
        seq=7,
        at="2026-11-28T21:40:00.000123+00:00",
        tag=tag,
        subject=subject,
        actor=actor,
        outcome=Outcome.of(tag).value,
        study=STUDY,
        series=None,
        patient_key=PATIENT_KEY,
        route=None,
        model=None,
        weights=None,
        details=json.dumps(details, sort_keys=True),
    )


@cache
def message_schema() -> xmlschema.XMLSchema:
    """Return the schema of PS3.15 A.5.1.1 as W3C XML Schema."""
    return xmlschema.XMLSchema(_SCHEMA)
