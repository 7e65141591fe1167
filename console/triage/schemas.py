"""What other programs read of urgent studies, equal on the command line and in the HTTP API; no patient."""

from __future__ import annotations

from datetime import datetime

from console.record_schema import IsoTime, RecordSchema
from storage.announcing.tables import OpenedThrough
from storage.announcing.unopened_studies import UrgentStudy
from storage.domain import Priority


class EscalationStepForm(RecordSchema):
    """A channel that is told at a moment where nobody opens the study before."""

    channel: str
    at: IsoTime


class UrgentStudyForm(RecordSchema):
    """One time that a result made a study urgent, and what became of it; what did not happen is null.

    ``study_id`` is our number for it. ``waiting_since`` is when it became urgent without anybody having opened it
    since. ``announced_by`` is the channel that was first to take it; ``next_steps`` are told next, in this order.
    """

    study_id: int
    study_instance_uid: str
    job_id: int
    revision: int
    route: str
    priority: Priority
    arrived_at: IsoTime
    analysed_at: IsoTime
    waiting_since: IsoTime
    announced_at: IsoTime | None
    announced_by: str | None
    opened_at: IsoTime | None
    opened_by: str | None
    opened_through: OpenedThrough | None
    ended_at: IsoTime | None
    escalations: int
    next_steps: list[EscalationStepForm]


class PendingStudyForm(UrgentStudyForm):
    """An urgent study that nobody has opened; ``waiting_seconds`` is for how long."""

    waiting_seconds: float


class SpanForm(RecordSchema):
    """Seconds from the last image to a moment; null where no study had it. ``left_out`` had it out of order."""

    count: int
    median_seconds: float | None
    p95_seconds: float | None
    left_out: int


class WaitingTimesForm(RecordSchema):
    """The times of one group of urgent studies; ``group`` is null for all together."""

    group: str | None
    studies: int
    analysed: SpanForm
    announced: SpanForm
    opened: SpanForm
    unopened: int


class TimesReportForm(RecordSchema):
    """The times of each group, and of all together."""

    groups: list[WaitingTimesForm]
    total: WaitingTimesForm


def pending_form(study: UrgentStudy, *, now: datetime) -> PendingStudyForm:
    """Return a study that waits as programs read it."""
    known = {name: getattr(study, name) for name in UrgentStudyForm.model_fields}
    return PendingStudyForm.model_validate({**known, "waiting_seconds": round(study.waited_seconds(now), 3)})
