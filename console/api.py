"""The JSON API, in the forms of the command line. Addresses hold our numbers, no patient data.

All requests read, except the one that sends a parametric map to a configured destination. The few-shot workflow has
its own routes in ``console.fewshot.api``.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response

from console.schemas import (
    DeliveryForm,
    EventForm,
    EventPageForm,
    HealthForm,
    JobDetailForm,
    JobForm,
    StudyDetailForm,
    WorklistForm,
)
from console.views import PAGE, Views

Limit = Annotated[int, Query(ge=1, le=1000, description="Most entries to return")]
Peer = Annotated[str, Body(embed=True, max_length=300, description="AE title or address of a configured destination")]
Before = Annotated[int | None, Query(ge=1, description="Events before this number")]


def router(views: Views) -> APIRouter:
    """Return the routes below /api, and /healthz."""
    routes = APIRouter()
    _add_studies(routes, views)
    _add_maps(routes, views)
    _add_work(routes, views)

    @routes.get("/healthz")
    def health(answer: Response) -> HealthForm:
        """Say whether the console can serve: 200 with the processes seen lately, 503 without a database."""
        found = views.health()
        answer.status_code = 200 if found.database else 503
        return HealthForm.model_validate(found)

    return routes


def _add_studies(routes: APIRouter, views: Views) -> None:
    @routes.get("/api/studies")
    def studies(limit: Limit = PAGE) -> list[WorklistForm]:
        """List studies, the newest arrivals first."""
        return [WorklistForm.model_validate(entry) for entry in views.studies(limit=limit)]

    @routes.get("/api/worklist")
    def worklist(limit: Limit = PAGE) -> list[WorklistForm]:
        """List analysed studies in reading order."""
        return [WorklistForm.model_validate(entry) for entry in views.worklist(limit=limit)]

    @routes.get("/api/studies/{study_id}")
    def study(study_id: int) -> StudyDetailForm:
        """Return one study with its jobs, findings, deliveries and events."""
        return StudyDetailForm.model_validate(views.dossier(study_id))


def _add_maps(routes: APIRouter, views: Views) -> None:
    @routes.get("/api/studies/{study_id}/parametric-map", response_class=Response)
    def parametric_map(study_id: int) -> Response:
        """Return the attention map of the newest result as a DICOM Parametric Map; each time goes on record."""
        name = f'attachment; filename="study-{study_id}-attention.dcm"'
        content = views.parametric_map(study_id)
        return Response(content, media_type="application/dicom", headers={"Content-Disposition": name})

    @routes.post("/api/studies/{study_id}/parametric-map/deliveries", status_code=202)
    def send_parametric_map(study_id: int, destination: Peer) -> DeliveryForm:
        """Send that map to a configured destination, once more where it was sent there before."""
        return DeliveryForm.model_validate(views.send_parametric_map(study_id, destination))


def _add_work(routes: APIRouter, views: Views) -> None:
    @routes.get("/api/jobs")
    def jobs(limit: Limit = PAGE) -> list[JobForm]:
        """List jobs, newest first."""
        return [JobForm.model_validate(job) for job in views.jobs(limit=limit)]

    @routes.get("/api/jobs/{job_id}")
    def job(job_id: int) -> JobDetailForm:
        """Return one job."""
        return JobDetailForm.model_validate(views.job(job_id))

    @routes.get("/api/deliveries")
    def deliveries(limit: Limit = PAGE) -> list[DeliveryForm]:
        """List deliveries, newest first."""
        return [DeliveryForm.model_validate(delivery) for delivery in views.deliveries(limit=limit)]

    @routes.get("/api/audit")
    def events(before: Before = None, limit: Limit = PAGE) -> EventPageForm:
        """Return a page of audit events, newest first, and the number to ask for the next page with."""
        page = views.events(before=before, limit=limit)
        following = page[-1].seq if len(page) == limit and page[-1].seq > 1 else None
        return EventPageForm(events=[EventForm.model_validate(event) for event in page], before=following)
