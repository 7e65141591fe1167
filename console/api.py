"""The JSON API, in the forms of the command line. Addresses hold our numbers, no patient data.

All requests read, except those that send a parametric map to a configured destination and that mark a study as read:
they need a token (``Authorization: Bearer TOKEN``).
The few-shot workflow has its own routes in ``console.fewshot.api``, the history in ``console.history.api``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response

from console.access.visitor import OnBehalfOf, visitor, visitor_of
from console.schemas.deliveries import DeliveryForm, ListedDeliveryForm
from console.schemas.health import HealthForm
from console.schemas.jobs import JobDetailForm, ListedJobForm
from console.schemas.studies import ListedWorklistForm, WorklistForm
from console.schemas.study_record import StudyDetailForm
from console.views import PAGE, Views
from storage.domain import Priority
from storage.states import DeliveryState, JobState, StudyState
from storage.study_pages import CappedCount, StudyFilter, StudyList

Limit = Annotated[int, Query(ge=1, le=1000, description="Most entries to return")]
Peer = Annotated[str, Body(embed=True, max_length=300, description="AE title or address of a configured destination")]
After = Annotated[str | None, Query(max_length=200, description="Go on behind the entry that has this cursor")]
Since = Annotated[datetime | None, Query(description="Only what arrived then or later; UTC where no zone is given")]
Until = Annotated[datetime | None, Query(description="Only what arrived then or before; UTC where no zone is given")]
# Patient data never stands in an address: logs and histories of browsers and proxies keep those.
OfPatient = Annotated[str | None, Header(alias="X-Patient-ID", max_length=64, description="Only this Patient ID")]
OfAccession = Annotated[
    str | None, Header(alias="X-Accession-Number", max_length=16, description="Only this Accession Number")
]
By = Annotated[OnBehalfOf, Body(embed=True)]


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


def _wanted(
    priority: Priority | None = None,
    since: Since = None,
    until: Until = None,
    patient: OfPatient = None,
    accession: OfAccession = None,
) -> StudyFilter:
    """Return the filter that a request names."""
    return StudyFilter(None, priority, _in_utc(since), _in_utc(until), patient, accession)


Everything = Annotated[bool, Query(alias="all", description="Also those that were read or have left by age")]
Wanted = Annotated[StudyFilter, Depends(_wanted)]


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _tell(answer: Response, count: CappedCount) -> None:
    """Say in a header how long a list is: a number, or that it is more than one."""
    answer.headers["X-Total-Count"] = f">{count.number}" if count.more else str(count.number)


def _add_studies(routes: APIRouter, views: Views) -> None:
    @routes.get("/api/studies")
    def studies(
        answer: Response, wanted: Wanted, state: StudyState | None = None, limit: Limit = PAGE, after: After = None
    ) -> list[ListedWorklistForm]:
        """List studies, the newest arrivals first."""
        narrowed = replace(wanted, state=state)
        _tell(answer, views.count(StudyList.ALL, wanted=narrowed))
        return [*map(ListedWorklistForm.model_validate, views.studies(limit=limit, after=after, wanted=narrowed))]

    @routes.get("/api/worklist")
    def worklist(
        answer: Response, wanted: Wanted, *, everything: Everything = False, limit: Limit = PAGE, after: After = None
    ) -> list[ListedWorklistForm]:
        """List analysed studies in reading order."""
        which = StudyList.ANALYSED if everything else StudyList.WORKLIST
        _tell(answer, views.count(which, wanted=wanted))
        entries = views.listed(which, limit=limit, after=after, wanted=wanted)
        return [ListedWorklistForm.model_validate(entry) for entry in entries]

    @routes.get("/api/studies/{study_id}")
    def study(request: Request, study_id: int) -> StudyDetailForm:
        """Return one study with its jobs, findings, deliveries and events; the reading goes on record."""
        return StudyDetailForm.model_validate(views.read_study(study_id, actor=visitor(request)))

    @routes.post("/api/studies/{study_id}/read")
    def mark_read(request: Request, study_id: int, by: By = None) -> WorklistForm:
        """Mark the results of a study as read: it leaves the worklist until something new comes."""
        return WorklistForm.model_validate(views.mark_read(study_id, actor=visitor_of(request).on_behalf_of(by)))

    @routes.delete("/api/studies/{study_id}/read")
    def mark_unread(request: Request, study_id: int) -> WorklistForm:
        """Take that mark back."""
        return WorklistForm.model_validate(views.mark_unread(study_id, actor=visitor(request)))


def _add_maps(routes: APIRouter, views: Views) -> None:
    @routes.get("/api/studies/{study_id}/parametric-map", response_class=Response)
    def parametric_map(request: Request, study_id: int) -> Response:
        """Return the attention map of the newest result as a DICOM Parametric Map; each time goes on record."""
        name = f'attachment; filename="study-{study_id}-attention.dcm"'
        content = views.parametric_map(study_id, actor=visitor(request))
        return Response(content, media_type="application/dicom", headers={"Content-Disposition": name})

    @routes.post("/api/studies/{study_id}/parametric-map/deliveries", status_code=202)
    def send_parametric_map(request: Request, study_id: int, destination: Peer) -> DeliveryForm:
        """Send that map to a configured destination, once more where it was sent there before."""
        return DeliveryForm.model_validate(views.send_parametric_map(study_id, destination, actor=visitor(request)))


def _add_work(routes: APIRouter, views: Views) -> None:
    @routes.get("/api/jobs")
    def jobs(
        answer: Response, state: JobState | None = None, limit: Limit = PAGE, after: After = None
    ) -> list[ListedJobForm]:
        """List jobs, newest first."""
        _tell(answer, views.count_jobs(state))
        return [ListedJobForm.model_validate(job) for job in views.jobs(limit=limit, after=after, state=state)]

    @routes.get("/api/jobs/{job_id}")
    def job(job_id: int) -> JobDetailForm:
        """Return one job."""
        return JobDetailForm.model_validate(views.job(job_id))

    @routes.get("/api/deliveries")
    def deliveries(
        answer: Response, state: DeliveryState | None = None, limit: Limit = PAGE, after: After = None
    ) -> list[ListedDeliveryForm]:
        """List deliveries, newest first."""
        _tell(answer, views.count_deliveries(state))
        return [*map(ListedDeliveryForm.model_validate, views.deliveries(limit=limit, after=after, state=state))]
