"""Urgent studies over HTTP: who waits, how long each step took, and that a person opened one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import Field

from console.access.visitor import visitor_of
from console.triage.schemas import PendingStudyForm, TimesReportForm, UrgentStudyForm, pending_form
from console.triage.views import UrgentViews
from storage.announcing.tables import OpenedThrough
from storage.announcing.waiting_times import TimesAsked, TimesBy
from storage.database import utc_now
from storage.domain import Priority

TIMES_DAYS = 7
"""Days that times are of where nobody says since when."""

Limit = Annotated[int, Query(ge=1, le=1000, description="Most entries to return")]
Since = Annotated[
    datetime | None,
    Query(description=f"Only what was analysed then or later; the last {TIMES_DAYS} days where it is left out"),
]
Until = Annotated[datetime | None, Query(description="Only what was analysed before; UTC where no zone is given")]
Person = Annotated[
    str,
    Body(embed=True),
    Field(min_length=1, max_length=48, pattern=r"^[^\x00-\x1f\x7f/]+$", description="Who opened the study"),
]


def router(views: UrgentViews) -> APIRouter:
    """Return the routes of urgent studies below /api."""
    routes = APIRouter(prefix="/api")

    @routes.get("/triage/pending")
    def pending(answer: Response, priority: Priority | None = None, limit: Limit = 500) -> list[PendingStudyForm]:
        """List the STAT and HIGH studies that nobody has opened, STAT first, then by how long they wait."""
        now = utc_now()
        answer.headers["X-Total-Count"] = str(views.waiting(priority=priority).count)
        return [pending_form(study, now=now) for study in views.pending(priority=priority, limit=limit)]

    @routes.get("/triage/times")
    def times(since: Since = None, until: Until = None, by: TimesBy = TimesBy.ROUTE) -> TimesReportForm:
        """Return seconds from the last image until analysed, announced and opened: median and 95th percentile."""
        asked = TimesAsked(_in_utc(since) or utc_now() - timedelta(days=TIMES_DAYS), _in_utc(until), by)
        return TimesReportForm.model_validate(views.times(asked))

    @routes.post("/studies/{study_id}/opened")
    def opened(request: Request, study_id: int, by: Person) -> list[UrgentStudyForm]:
        """Put it on record that a person opened a study in another program, such as a viewer or a RIS."""
        actor = visitor_of(request).on_behalf_of(by)
        found = views.opened(study_id, by=actor, through=OpenedThrough.PROGRAM)
        return [UrgentStudyForm.model_validate(study) for study in found]

    return routes


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
