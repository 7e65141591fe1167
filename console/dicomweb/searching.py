"""The routes of QIDO-RS below /dicom-web: studies, series and instances by their attributes (PS3.18 10.6)."""

from __future__ import annotations

import http
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from console.access.visitor import visitor
from console.dicomweb.addresses import BASE, base_of
from console.dicomweb.questions import Asked, Within, asked, with_address
from console.media_types import DICOM_JSON, require_json
from console.request_errors import RequestInvalid
from storage.attributes import Attributes
from storage.database import Database, utc_now
from storage.errors import QuestionInvalid
from storage.history.readings import Reader
from storage.holdings import asking, search
from storage.holdings.question import Level
from storage.holdings.search import Page

_MORE = "There are additional results that can be requested"
_NOT_FUZZY = "The fuzzymatching parameter is not supported. Only literal matching has been performed."
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "Data sets of the DICOM JSON model", "content": {DICOM_JSON: {}}},
    204: {"description": "Nothing matches"},
}


def router(database: Database) -> APIRouter:
    """Return the routes that search what is held."""
    routes = APIRouter(
        prefix=BASE, default_response_class=Response, responses=_ANSWER, dependencies=[Depends(require_json)]
    )

    def found(request: Request, level: Level, within: Within) -> Response:
        question = asked(level, within, request.query_params.multi_items())
        page = _searched(database, question, Reader(visitor(request), utc_now()))
        answers = [with_address(one, level, base_of(request)) for one in page.data_sets]
        return _answered(answers, question, is_more=page.is_more)

    @routes.get("/studies")
    def search_studies(request: Request) -> Response:
        """Search studies by keys such as `PatientID=4711` or `StudyDate=20260101-`; with limit and offset."""
        return found(request, Level.STUDY, Within())

    @routes.get("/series")
    def search_series(request: Request) -> Response:
        """Search series of all studies."""
        return found(request, Level.SERIES, Within())

    @routes.get("/instances")
    def search_instances(request: Request) -> Response:
        """Search instances of all studies."""
        return found(request, Level.IMAGE, Within())

    @routes.get("/studies/{study}/series")
    def search_series_of_study(request: Request, study: str) -> Response:
        """Search the series of a study."""
        return found(request, Level.SERIES, Within(study))

    @routes.get("/studies/{study}/instances")
    def search_instances_of_study(request: Request, study: str) -> Response:
        """Search the instances of a study."""
        return found(request, Level.IMAGE, Within(study))

    @routes.get("/studies/{study}/series/{series}/instances")
    def search_instances_of_series(request: Request, study: str, series: str) -> Response:
        """Search the instances of a series."""
        return found(request, Level.IMAGE, Within(study, series))

    return routes


def _searched(database: Database, question: Asked, reader: Reader) -> Page:
    """Return a page of answers, once it is on record that it was asked for."""
    try:
        with database.read() as session:
            page = search.search(session, question.question)
    except QuestionInvalid as error:
        raise RequestInvalid(str(error), status=http.HTTPStatus.BAD_REQUEST) from error
    level, keys, answers = question.question.level, len(question.question.keys.elements), len(page.data_sets)
    with database.write() as session:
        asking.record(session, asking.Asked(level, keys, answers), actor=reader.actor, now=reader.now)
    return page


def _answered(answers: list[Attributes], question: Asked, *, is_more: bool) -> Response:
    warnings = [text for text, holds in ((_MORE, is_more), (_NOT_FUZZY, question.is_fuzzy)) if holds]
    headers = {"Warning": ", ".join(f"299 oncue: {text}" for text in warnings)} if warnings else {}
    if not answers:
        return Response(status_code=http.HTTPStatus.NO_CONTENT, headers=headers)
    content = ",".join(one.text() for one in answers)
    return Response(f"[{content}]", media_type=DICOM_JSON, headers=headers)
