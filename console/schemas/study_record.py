"""One study with everything on record of it."""

from __future__ import annotations

from pydantic import Field

from console.record_schema import RecordSchema
from console.retention_forms import DeletionForm, KeptStudyForm
from console.schemas.deliveries import DeliveryForm
from console.schemas.events import EventForm
from console.schemas.jobs import JobDetailForm
from console.schemas.results import ResultForm
from console.schemas.studies import WorklistForm
from console.urgent.schemas import UrgentStudyForm


class StudyDetailForm(RecordSchema):
    """One study with everything on record of it; ``result`` is the leading one of ``results``.

    ``deletions`` say what retention deleted of it, ``kept`` who keeps it from that. ``urgent`` holds every time that it
    became STAT or HIGH, the one that stands first.
    """

    study: WorklistForm = Field(validation_alias="entry")
    jobs: list[JobDetailForm]
    result: ResultForm | None
    results: list[ResultForm]
    deliveries: list[DeliveryForm]
    events: list[EventForm]
    deletions: list[DeletionForm]
    kept: KeptStudyForm | None
    urgent: list[UrgentStudyForm]
