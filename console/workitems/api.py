"""The routes of UPS-RS below /dicom-web (PS3.18 11.4 to 11.9); what changes something needs a token."""

from __future__ import annotations

import http
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from console.access.visitor import visitor
from console.media_types import DICOM_JSON, require_json
from console.request_errors import RequestRefused
from console.workitems.bodies import data_set_of
from console.workitems.queries import query_of
from console.workitems.views import WorkitemViews
from storage.attributes import Attributes
from storage.workitems.refusals import Refusal, Remark, WorkitemRefused

_STATUS: Mapping[Refusal, int] = {
    Refusal.INVALID_ATTRIBUTE_VALUE: http.HTTPStatus.BAD_REQUEST,
    Refusal.MISSING_ATTRIBUTE: http.HTTPStatus.BAD_REQUEST,
    Refusal.MISSING_ATTRIBUTE_VALUE: http.HTTPStatus.BAD_REQUEST,
    Refusal.NOT_CREATED_AS_SCHEDULED: http.HTTPStatus.BAD_REQUEST,
    Refusal.TRANSACTION_UID_NOT_CORRECT: http.HTTPStatus.BAD_REQUEST,
    Refusal.NO_SUCH_WORKITEM: http.HTTPStatus.NOT_FOUND,
}
"""HTTP statuses of refusals (PS3.18 Tables 11.4.3-1, 11.6.3-1, 11.7.3-1); the rest is a conflict with the state."""
_REMARKS: Mapping[Remark, str] = {
    Remark.ALREADY_CANCELED: "The UPS is already in the requested state of CANCELED",
    Remark.ALREADY_COMPLETED: "The UPS is already in the requested state of COMPLETED",
}
_MORE = "There are additional results that can be requested"
_WORKITEMS = "/dicom-web/workitems"
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "Data sets of the DICOM JSON model", "content": {DICOM_JSON: {}}}
}

DataSet = Annotated[Attributes, Depends(data_set_of)]
NewUid = Annotated[str | None, Query(alias="workitem", max_length=64, description="SOP Instance UID of the new one")]
AffectedUid = Annotated[str | None, Query(alias="AffectedSOPInstanceUID", max_length=64, include_in_schema=False)]
Lock = Annotated[str, Query(alias="transaction-uid", max_length=64, description="Of whoever has it IN PROGRESS")]


def router(views: WorkitemViews) -> APIRouter:
    """Return the routes of workitems."""
    routes = APIRouter(prefix=_WORKITEMS, default_response_class=Response)
    _add_reading(routes, views)
    _add_changes(routes, views)
    return routes


def _add_reading(routes: APIRouter, views: WorkitemViews) -> None:
    @routes.get("", responses=_ANSWER, dependencies=[Depends(require_json)])
    def search(request: Request) -> Response:
        """Search by keys such as `ProcedureStepState=SCHEDULED`, the most urgent first; with limit and offset."""
        with _refusals():
            found = views.search(query_of(request.query_params.multi_items()))
        headers = {"Warning": _warning(_MORE)} if found.is_more else {}
        if not found.data_sets:
            return Response(status_code=http.HTTPStatus.NO_CONTENT, headers=headers)
        return Response(_json(*found.data_sets), media_type=DICOM_JSON, headers=headers)

    @routes.get("/{uid}", responses=_ANSWER, dependencies=[Depends(require_json)])
    def retrieve(uid: str) -> Response:
        """Return one workitem, with the images that it is to be done with."""
        with _refusals():
            return Response(_json(views.retrieve(uid)), media_type=DICOM_JSON)


def _add_changes(routes: APIRouter, views: WorkitemViews) -> None:
    @routes.post("", status_code=http.HTTPStatus.CREATED)
    def create(request: Request, content: DataSet, uid: NewUid = None, affected: AffectedUid = None) -> Response:
        """Put a workitem on the worklist; `Location` says where it is."""
        with _refusals():
            made = views.create(uid or affected, content, actor=visitor(request))
        return Response(status_code=http.HTTPStatus.CREATED, headers={"Location": f"{_WORKITEMS}/{made}"})

    @routes.post("/{uid}")
    def update(request: Request, uid: str, changes: DataSet, lock: Lock = "") -> Response:
        """Change attributes of one that nobody has claimed, or of one whose Transaction UID is given."""
        with _refusals():
            views.update(uid, changes, transaction_uid=lock, actor=visitor(request))
        return Response()

    @routes.put("/{uid}/state")
    @routes.put("/{uid}/state/{requester}", include_in_schema=False)
    def change_state(request: Request, uid: str, asked: DataSet) -> Response:
        """Claim, complete or cancel it, with its Procedure Step State and Transaction UID."""
        with _refusals():
            return _remarked(views.change_state(uid, asked, actor=visitor(request)), http.HTTPStatus.OK)

    @routes.post("/{uid}/cancelrequest", status_code=http.HTTPStatus.ACCEPTED)
    @routes.post("/{uid}/cancelrequest/{requester}", status_code=http.HTTPStatus.ACCEPTED, include_in_schema=False)
    async def request_cancel(request: Request, uid: str) -> Response:
        """Cancel one that nobody has claimed; a body may say why."""
        has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
        reasons = await data_set_of(request) if has_body else Attributes({})
        with _refusals():
            remark = await run_in_threadpool(views.request_cancel, uid, reasons, actor=visitor(request))
            return _remarked(remark, http.HTTPStatus.ACCEPTED)


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise a refusal of the worklist as one of the request: its status, and the warning that clients look for."""
    try:
        yield
    except WorkitemRefused as error:
        status = _STATUS.get(error.refusal, http.HTTPStatus.CONFLICT)
        refused = RequestRefused(str(error), status=status, headers={"Warning": _warning(str(error))})
        refused.code = error.code
        raise refused from error


def _remarked(remark: Remark | None, status: int) -> Response:
    """Answer what was done, or, with a warning, what had been done already (Tables 11.7.3-1 and 11.8.3-1)."""
    headers = {"Warning": _warning(_REMARKS[remark])} if remark is not None else {}
    return Response(status_code=status, headers=headers)


def _warning(text: str) -> str:
    return f"299 oncue: {text}"


def _json(*data_sets: Attributes) -> str:
    return f"[{','.join(data_set.text() for data_set in data_sets)}]"
