"""What is known of a DICOM object that oncue wrote and of its way to each destination."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from storage.domain import DeliveryState, ObjectKind


@dataclass(frozen=True, slots=True)
class WrittenObject:
    """One DICOM object that lies in the object store under ``digest``, ready to be sent."""

    kind: ObjectKind
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object on its way to one destination, as it stands. ``status`` is the DIMSE status of the last attempt."""

    id: int
    job_id: int
    study_instance_uid: str
    written: WrittenObject
    destination: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime
    status: int | None
    code: str | None
    reason: str | None
    sent_at: datetime | None
