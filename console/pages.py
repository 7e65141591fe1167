"""The pages: worklist, study and audit trail, rendered on the server, without scripts."""

from __future__ import annotations

import http
import json
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from console.schemas import measures_of, named_site, overlay_path, panel_path, why_not_sent
from console.views import PAGE, Views
from storage.domain import Presence
from storage.explanations import TILES

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_NOTHING = "\N{EN DASH}"
_LONGEST_DETAIL = 16
_DATE_DIGITS = 8
Before = Annotated[int | None, Query(ge=1)]


def router(views: Views) -> APIRouter:
    """Return the routes of the pages."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    @routes.get("/")
    def worklist() -> str:
        return _render(
            "worklist.html",
            entries=views.worklist(),
            waiting=views.waiting(),
            set_aside=views.not_applicable(),
            health=views.health(),
            here="worklist",
        )

    @routes.get("/studies/{study_id}")
    def study(study_id: int) -> str:
        dossier = views.dossier(study_id)
        return _render("study.html", dossier=dossier, entry=dossier.entry, here="study")

    @routes.get("/audit")
    def audit_trail(before: Before = None) -> str:
        events = views.events(before=before)
        older = events[-1].seq if len(events) == PAGE and events[-1].seq > 1 else None
        return _render("audit.html", events=events, count=views.event_count(), older=older, here="audit")

    @routes.get("/jobs/{job_id}/overlays/{digest}.png")
    @routes.get("/jobs/{job_id}/panels/{digest}.png")
    def picture(job_id: int, digest: str) -> Response:
        return Response(views.picture(job_id, digest), media_type="image/png")

    return routes


def error_page(status: int, code: str, message: str) -> HTMLResponse:
    """Render an error as a page."""
    phrase = http.HTTPStatus(status).phrase
    return HTMLResponse(_render("error.html", phrase=phrase, code=code, message=message, here=""), status_code=status)


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values)


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
        moment=_moment, percent=_percent, number=_number, short=_short, details=_details, status=_status, date=_date
    )
    environment.globals.update(
        overlay_path=overlay_path,
        panel_path=panel_path,
        measures_of=measures_of,
        named_site=named_site,
        why_not_sent=why_not_sent,
        Presence=Presence,
        TILES=TILES,
    )
    return environment


def _moment(value: datetime | str | None) -> str:
    """Write a time in UTC to the second."""
    if value is None:
        return _NOTHING
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{moment:%Y-%m-%d %H:%M:%S}"


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
