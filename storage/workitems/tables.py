"""The table of workitems (Unified Procedure Steps, PS3.4 Annex CC)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

_UID = String(64)


class WorkitemState(StrEnum):
    """Procedure Step State (0074,1000), as the standard spells it."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    CANCELED = "CANCELED"
    COMPLETED = "COMPLETED"


class WorkitemPriority(StrEnum):
    """Scheduled Procedure Step Priority (0074,1200)."""

    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"


class WorkitemRow(Model):
    """One workitem. ``study_id`` is None where a peer made it (N-CREATE) for a study that is not ours.

    ``transaction_uid`` is the lock of whoever has it IN PROGRESS, and is shown to nobody. ``content`` is the data set
    in the DICOM JSON model (PS3.18 Annex F), without what stands in the other columns. ``described`` says whether what
    an image's header tells of patient and order stands in it, or need not; ``claimed_at`` is when somebody took it.
    """

    __tablename__ = "workitems"

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(_UID, unique=True)
    study_id: Mapped[int | None] = mapped_column(ForeignKey("studies.id"), index=True)
    state: Mapped[str] = mapped_column(String(16))
    priority: Mapped[str] = mapped_column(String(8))
    label: Mapped[str] = mapped_column(String(64))
    worklist_label: Mapped[str] = mapped_column(String(64))
    scheduled_at: Mapped[datetime]
    transaction_uid: Mapped[str | None] = mapped_column(_UID)
    claimed_by: Mapped[str | None] = mapped_column(String(96))
    claimed_at: Mapped[datetime | None]
    described: Mapped[bool]
    content: Mapped[str] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(96))
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]

    __table_args__ = (Index(None, "state", "priority", "scheduled_at"), Index(None, "described"))
