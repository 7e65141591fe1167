"""The history over HTTP: the filters of `oncue audit query`, a study's timeline, and who saw it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, ConfigDict

from console.access.visitor import visitor
from console.history.asking import Asked
from console.history.forms import EventPageForm, FacetsForm, PatientKeyForm, SightingForm, TimelineForm
from console.history.views import HistoryViews
from console.schemas.events import EventForm
from console.views import PAGE
from storage.history.question import Order


class AuditQuery(BaseModel):
    """The filters and the page of `GET /api/audit`, by the names of the command line's options.

    A patient is named by the key: an id has no place in an address. `POST /api/audit/patient-key` tells it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    patient_key: str | None = None
    study: str | None = None
    series: str | None = None
    object: str | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    route: str | None = None
    model: str | None = None
    weights: str | None = None
    since: str | None = None
    until: str | None = None
    text: str | None = None
    order: Order = Order.NEWEST
    facets: bool = False
    limit: Annotated[int, Query(ge=1, le=1000, description="Most entries to return")] = PAGE
    after: str | None = None

    def asked(self) -> Asked:
        """Return the filters."""
        return Asked(**self.model_dump(exclude={"order", "facets", "limit", "after"}))


def router(views: HistoryViews) -> APIRouter:
    """Return the routes of the history below /api."""
    routes = APIRouter(prefix="/api")

    @routes.get("/audit")
    def events(request: Request, query: Annotated[AuditQuery, Query()]) -> EventPageForm:
        """Return a page of audit events, and the cursor to ask for the next with."""
        found = views.answer(
            query.asked(), actor=visitor(request), order=query.order, limit=query.limit, after=query.after,
            with_facets=query.facets,
        )  # fmt: skip # reads by its lines
        return EventPageForm(
            events=[EventForm.model_validate(event) for event in found.page.events],
            cursor=found.page.cursor,
            facets=None if found.facets is None else FacetsForm.model_validate(found.facets),
        )

    @routes.post("/audit/patient-key")
    def patient_key(patient: Annotated[str, Body(embed=True, min_length=1, max_length=64)]) -> PatientKeyForm:
        """Return what stands for a patient id in the history."""
        return PatientKeyForm(patient_key=views.question(Asked(patient=patient)).patient_key)

    @routes.get("/studies/{study_id}/timeline")
    def study_timeline(request: Request, study_id: int) -> TimelineForm:
        """Return everything that happened to one study, in sentences."""
        return TimelineForm.model_validate(views.timeline(str(study_id), actor=visitor(request)))

    @routes.get("/studies/{study_id}/sightings")
    def study_sightings(request: Request, study_id: int) -> list[SightingForm]:
        """Return who read a study, took it out, or was sent objects of it."""
        found = views.sightings(str(study_id), actor=visitor(request))
        return [SightingForm.model_validate(one) for one in found]

    return routes
