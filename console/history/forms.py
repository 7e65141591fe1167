"""What other programs read of the history, equal on the command line and in the HTTP API."""

from __future__ import annotations

from pydantic import AliasChoices, Field

from console.record_schema import RecordSchema
from console.schemas.events import EventForm
from storage.audit import Outcome
from storage.history.sightings import Sight


class TallyForm(RecordSchema):
    """How many events have one value."""

    value: str
    count: int


class FacetsForm(RecordSchema):
    """How many events a question has; where ``complete`` is false, among the newest 100,000 of them."""

    actions: list[TallyForm]
    actors: list[TallyForm]
    days: list[TallyForm]
    complete: bool = Field(validation_alias=AliasChoices("is_complete", "complete"))


class EventPageForm(RecordSchema):
    """A page of audit events; ``cursor`` asks for the next page, and is null on the last one.

    ``facets`` are null where they are not asked for.
    """

    events: list[EventForm]
    cursor: str | None
    facets: FacetsForm | None = None


class PatientKeyForm(RecordSchema):
    """What stands for a patient in the history."""

    patient_key: str | None


class StepForm(RecordSchema):
    """One thing that happened to a study, or ``events`` alike; ``seconds`` is what the step took, null without one."""

    seq: int
    at: str
    until: str
    tag: str
    actor: str
    outcome: Outcome
    sentence: str
    events: int
    seconds: float | None


class DayForm(RecordSchema):
    """What happened on one day (UTC)."""

    day: str
    steps: list[StepForm]


class TimelineForm(RecordSchema):
    """Everything that happened to one study; where ``complete`` is false, its beginning."""

    study: str
    days: list[DayForm]
    complete: bool = Field(validation_alias=AliasChoices("is_complete", "complete"))


class SightingForm(RecordSchema):
    """What of a study somebody saw, or was sent: who, what, how often, first and last."""

    who: str
    what: Sight
    times: int
    first_at: str
    last_at: str
