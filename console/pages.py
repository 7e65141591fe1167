"""The pages: worklist, study and audit trail; without scripts, forms are plain buttons."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from console.access.asked_host import path_of
from console.access.guard import ONLY_READ
from console.access.looking import is_looked_at
from console.access.visitor import visitor, visitor_of
from console.history.api import AuditQuery
from console.history.links import AuditLinks
from console.history.views import HistoryViews
from console.picture_paths import overlay_path, panel_path
from console.result_words import measures_of, named_site, why_not_sent
from console.urgent.api import TIMES_DAYS
from console.urgent.durations import spoken
from console.urgent.times_figure import figure
from console.urgent.views import UrgentViews
from console.views import PAGE, Views
from storage.announcing.waiting_times import TimesAsked, TimesBy
from storage.database import utc_now
from storage.domain import Presence
from storage.errors import OncueError
from storage.study_pages import CappedCount, StudyList
from storage.worklist import StudyEntry

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_NOTHING = "\N{EN DASH}"
_LONGEST_DETAIL = 16
_DATE_DIGITS = 8
After = Annotated[str | None, Query(max_length=200)]
Everything = Annotated[bool, Query(alias="all")]
_LONGEST_FORM = 16_384
_UNAUTHORIZED = http.HTTPStatus.UNAUTHORIZED


_ADDRESSES: Mapping[StudyList, str] = {StudyList.WAITING: "/waiting", StudyList.NOT_APPLICABLE: "/set-aside"}


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of one list: its entries, how many the list has, and the address of the page behind it."""

    which: StudyList
    entries: tuple[StudyEntry, ...]
    count: CappedCount
    is_first: bool
    older: str | None


def router(views: Views, history: HistoryViews, urgent: UrgentViews) -> APIRouter:
    """Return the routes of the pages."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    _add_lists(routes, views)
    _add_urgent(routes, urgent)

    @routes.get("/studies/{study_id}")
    def study(request: Request, study_id: int) -> str:
        read = views.show_study if is_looked_at(request) else views.read_study
        dossier = read(study_id, actor=visitor(request))
        told = history.timeline(str(study_id), actor=None)
        return render(request, "study.html", dossier=dossier, entry=dossier.entry, timeline=told, here="study")

    @routes.post("/studies/{study_id}/read", response_class=RedirectResponse, status_code=303)
    def mark_read(request: Request, study_id: int) -> str:
        views.mark_read(study_id, actor=visitor(request))
        return "/"

    @routes.post("/studies/{study_id}/unread", response_class=RedirectResponse, status_code=303)
    def mark_unread(request: Request, study_id: int) -> str:
        views.mark_unread(study_id, actor=visitor(request))
        return f"/studies/{study_id}"

    @routes.get("/jobs/{job_id}/overlays/{digest}.png")
    @routes.get("/jobs/{job_id}/panels/{digest}.png")
    def picture(request: Request, job_id: int, digest: str) -> Response:
        return Response(views.picture(job_id, digest, actor=visitor(request)), media_type="image/png")

    _add_history(routes, history)
    return routes


def _add_lists(routes: APIRouter, views: Views) -> None:
    @routes.get("/")
    def worklist(request: Request, *, after: After = None, everything: Everything = False) -> str:
        which = StudyList.ANALYSED if everything else StudyList.WORKLIST
        shown = [_list_page(views, which, after)]
        if after is None:
            shown += (_list_page(views, aside, None) for aside in (StudyList.WAITING, StudyList.NOT_APPLICABLE))
        return _render_lists(request, views, shown)

    @routes.get("/waiting")
    def waiting(request: Request, after: After = None) -> str:
        return _render_lists(request, views, [_list_page(views, StudyList.WAITING, after)])

    @routes.get("/set-aside")
    def set_aside(request: Request, after: After = None) -> str:
        return _render_lists(request, views, [_list_page(views, StudyList.NOT_APPLICABLE, after)])


def _add_urgent(routes: APIRouter, urgent: UrgentViews) -> None:
    @routes.get("/urgent")
    def urgent_studies(request: Request, by: TimesBy = TimesBy.ROUTE) -> str:
        now = utc_now()
        pending, waiting = urgent.pending(limit=PAGE), urgent.waiting()
        times = urgent.times(TimesAsked(now - timedelta(days=TIMES_DAYS), by=by))
        return render(
            request,
            "urgent.html",
            pending=pending,
            waiting=waiting,
            times=times,
            figure=figure(times, by),
            by=by,
            days=TIMES_DAYS,
            now=now,
            here="urgent",
        )


def _list_page(views: Views, which: StudyList, after: str | None) -> ListPage:
    entries = views.listed(which, after=after)
    behind = entries[-1].cursor if len(entries) == PAGE else None
    return ListPage(which, entries, views.count(which), is_first=after is None, older=_older(which, behind))


def _older(which: StudyList, cursor: str | None) -> str | None:
    """Return the address of the page behind a cursor."""
    if cursor is None:
        return None
    more = {"all": "true"} if which is StudyList.ANALYSED else {}
    return f"{_ADDRESSES.get(which, '/')}?{urlencode({'after': cursor, **more})}"


def _render_lists(request: Request, views: Views, shown: Sequence[ListPage]) -> str:
    by_list = {page.which.value: page for page in shown}
    worklist = by_list.get("worklist") or by_list.get("analysed")
    return render(
        request,
        "worklist.html",
        worklist=worklist,
        waiting=by_list.get("waiting"),
        set_aside=by_list.get("not_applicable"),
        health=views.health(),
        here="worklist",
    )


def _add_history(routes: APIRouter, history: HistoryViews) -> None:
    @routes.get("/audit")
    def audit_trail(request: Request, query: Annotated[AuditQuery, Query()]) -> str:
        answer = history.answer(
            query.asked(),
            actor=visitor(request),
            order=query.order,
            limit=query.limit,
            after=query.after,
            with_facets=True,
        )
        return render(request, "audit.html", answer=answer, query=query, links=AuditLinks(query), here="audit")

    @routes.post("/audit/question")
    async def ask(request: Request) -> Response:
        # Filters are sent in the body and come back as an address that names no patient, and a study by our number.
        typed = await form_fields(request)
        return RedirectResponse(await run_in_threadpool(history.address_of, typed), status_code=303)


async def form_fields(request: Request) -> dict[str, list[str]]:
    """Return what a form sent; 413 where it is longer than any form of ours, before the rest of it is read."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_FORM:
            raise HTTPException(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a form has {_LONGEST_FORM} bytes at most")
    return parse_qs(body.decode(errors="replace"))


def error_page(request: Request, status: int, error: OncueError) -> Response:
    """Render an error as a page; where a token is missing it leads to the sign-in."""
    phrase = http.HTTPStatus(status).phrase
    page = render(request, "error.html", phrase=phrase, error=error, needs_token=status == _UNAUTHORIZED, here="")
    return HTMLResponse(page, status_code=status)


def sign_in_address(request: Request) -> str:
    """Return the address to sign in at and then come back to the page that is shown."""
    path, asked = path_of(request), request.scope["query_string"].decode("latin-1")
    here = f"{path}?{asked}" if asked else path
    return f"/sign-in?{urlencode({'next': here if request.method in ONLY_READ else '/'})}"


def render(request: Request, template: str, **values: object) -> str:
    """Render a page for whoever asks."""
    given = {"visitor": visitor_of(request), "sign_in_address": sign_in_address(request), **values}
    return _environment().get_template(template).render(given)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clock=_clock,
        duration=spoken,
        moment=_moment,
        percent=_percent,
        number=_number,
        short=_short,
        details=_details,
        status=_status,
        date=_date,
    )
    environment.globals.update(
        overlay_path=overlay_path,
        panel_path=panel_path,
        measures_of=measures_of,
        named_site=named_site,
        why_not_sent=why_not_sent,
        Presence=Presence,
        TimesBy=TimesBy,
    )
    return environment


def _moment(value: datetime | str | None) -> str:
    """Write a time in UTC to the second."""
    if value is None:
        return _NOTHING
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _clock(value: datetime, beside: datetime) -> str:
    """Write a time as that of a day where it stands beside another time of that day."""
    return f"{value:%H:%M:%S}" if value.date() == beside.date() else _moment(value)


def _percent(value: float | None) -> str:
    return _NOTHING if value is None else f"{100 * value:.0f} %"


def _number(value: float | None, digits: int = 1) -> str:
    return _NOTHING if value is None else f"{value:.{digits}f}"


def _short(text: str, length: int = 12) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def _status(value: int | None) -> str:
    return _NOTHING if value is None else f"0x{value:04X}"


def _details(text: str) -> str:
    """Write an event's details as ``name value`` pairs."""
    values = {name: value for name, value in json.loads(text).items() if value is not None}
    return ", ".join(
        f"{name.replace('_', ' ')} {_short(str(value), _LONGEST_DETAIL)}" for name, value in values.items()
    )


def _date(value: str) -> str:
    """Write a DICOM date (DA) with dashes; anything else stays as it is."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == _DATE_DIGITS and value.isdigit() else value
