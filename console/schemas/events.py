"""Events of the audit trail."""

from __future__ import annotations

from typing import Any

from pydantic import Json

from console.record_schema import RecordSchema


class EventForm(RecordSchema):
    """One event of the audit trail; ``details`` never holds patient data.

    ``previous_hash`` and ``hash`` are those of the chain that events were once linked in, and empty since.
    """

    seq: int
    at: str
    tag: str
    subject: str
    actor: str
    outcome: str
    study: str | None
    series: str | None
    patient_key: str | None
    route: str | None
    model: str | None
    weights: str | None
    details: Json[dict[str, Any]]
    previous_hash: str
    hash: str
