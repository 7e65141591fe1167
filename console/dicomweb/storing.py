"""The routes of STOW-RS (PS3.18 10.5): objects into the same journal as by C-STORE, and what became of each."""

from __future__ import annotations

import http
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Path, Request, Response
from starlette.requests import ClientDisconnect

from console.access.visitor import Visitor, visitor_of
from console.dicomweb.addresses import BASE, base_of
from console.dicomweb.store_answer import StoreOutcome
from console.dicomweb.store_body import BodyBounds, StoreBody, too_large
from console.dicomweb.store_inlet import StoreInlet
from console.dicomweb.store_requests import MOST_METADATA_BYTES, StoreRequestBody
from console.media_types import DICOM, DICOM_JSON, RELATED, require_json
from console.request_errors import MediaTypeUnsupported, RequestRefused
from dicom_gateway.errors import BodyBroken
from dicom_gateway.inlets.related_parts import MediaType, RelatedParts, boundary_of
from storage.domain import Lane
from storage.errors import StorageError

if TYPE_CHECKING:
    from dicom_gateway.inlets import inlet as inlets

_STUDIES = "/studies"
_UNENCODED = frozenset({"", "identity"})
_AT_ONCE = 8
_RETRY_SECONDS = 10
_TITLE_LENGTH = 16
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "Everything is stored", "content": {DICOM_JSON: {}}},
    202: {"description": "Something is stored, and something is not", "content": {DICOM_JSON: {}}},
    409: {"description": "Nothing is stored", "content": {DICOM_JSON: {}}},
}


@dataclass(frozen=True, slots=True)
class StoreTerms:
    """Bounds of a request to store, and the lane of what is stored."""

    lane: Lane
    most_bytes: int


class TooBusy(RequestRefused):
    """Nothing can be stored at the moment; the same request may be sent again."""

    code = "too_busy"
    http_status = http.HTTPStatus.SERVICE_UNAVAILABLE
    retryable = True


def router(inlet: StoreInlet, terms: StoreTerms) -> APIRouter:
    """Return the routes that store."""
    routes = APIRouter(
        prefix=f"{BASE}{_STUDIES}", default_response_class=Response, dependencies=[Depends(require_json)]
    )
    storing = _Storing(inlet, terms)

    @routes.post("", responses=_ANSWER)
    async def store(request: Request) -> Response:
        """Store objects: multipart/related of application/dicom, or of application/dicom+json with bulk data."""
        return await storing.answer(request, None)

    @routes.post("/{uid}", responses=_ANSWER)
    async def store_in_study(
        request: Request, uid: Annotated[str, Path(max_length=64, pattern=r"^[0-9.]+$")]
    ) -> Response:
        """Store objects of one study; one of another study is not stored."""
        return await storing.answer(request, uid)

    return routes


class _Storing:
    """Carries requests out in threads of its own, so that slow senders keep nobody from the pages."""

    def __init__(self, inlet: StoreInlet, terms: StoreTerms) -> None:
        self._inlet = inlet
        self._terms = terms
        self._limiter: CapacityLimiter | None = None

    async def answer(self, request: Request, study_instance_uid: str | None) -> Response:
        media_type = _media_type_of(request)
        body = self._body(request, media_type)
        limiter = self._limiter = self._limiter or CapacityLimiter(_AT_ONCE)
        if limiter.available_tokens < 1:
            raise _busy(f"{_AT_ONCE} requests to store are at work: send it again")
        try:
            outcome = await to_thread.run_sync(
                self._store, visitor_of(request), media_type, body, study_instance_uid, limiter=limiter
            )
        except ClientDisconnect:
            return Response(status_code=http.HTTPStatus.BAD_REQUEST)  # nobody is there to read it
        return _answer(outcome, f"{base_of(request)}{_STUDIES}")

    def _body(self, request: Request, media_type: MediaType) -> StoreBody:
        is_metadata = media_type.parameters.get("type", DICOM).lower() == DICOM_JSON
        most = min(MOST_METADATA_BYTES, self._terms.most_bytes) if is_metadata else self._terms.most_bytes
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            raise too_large(most)
        return StoreBody(request, BodyBounds(most, self._inlet.settings.network_seconds, self._inlet.is_ending))

    def _store(
        self, visitor: Visitor, media_type: MediaType, body: StoreBody, study_instance_uid: str | None
    ) -> StoreOutcome:
        try:
            inlet = self._inlet.ready()
        except StorageError as error:
            raise _busy(str(error)) from error
        parts = RelatedParts(boundary_of(media_type), body.piece)
        with inlet.visit(self._visitor(visitor)) as visit:
            request = StoreRequestBody(visit, study_instance_uid)
            is_metadata = media_type.parameters.get("type", DICOM).lower() == DICOM_JSON
            return request.store_metadata(parts) if is_metadata else request.store_files(parts)

    def _visitor(self, visitor: Visitor) -> inlets.Visitor:
        """Return who brings the images, as records have it: the name of the token stands for the AE title."""
        from dicom_gateway.inlets.inlet import Visitor as Bringer
        from dicom_gateway.receiving.store_request import safe_title

        title = safe_title((visitor.name or "web")[:_TITLE_LENGTH]) or "web"
        return Bringer(title, self._inlet.settings.aet, visitor.address, self._terms.lane)


def _media_type_of(request: Request) -> MediaType:
    """Return the media type of a request that can be stored; MediaTypeUnsupported."""
    if request.headers.get("content-encoding", "").lower() not in _UNENCODED:
        raise MediaTypeUnsupported("the body is compressed: send it as it is, without Content-Encoding")
    media_type = MediaType.parse(request.headers.get("content-type", ""))
    if media_type.name != RELATED or media_type.parameters.get("type", DICOM).lower() not in (DICOM, DICOM_JSON):
        raise MediaTypeUnsupported(f'send {RELATED}; type="{DICOM}" or type="{DICOM_JSON}"')
    try:
        boundary_of(media_type)
    except BodyBroken as error:
        raise MediaTypeUnsupported(str(error)) from error
    return media_type


def _answer(outcome: StoreOutcome, service_url: str) -> Response:
    headers = {"Warning": f"299 oncue: {outcome.remark}"} if outcome.remark else {}
    if outcome.http_status == http.HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(_RETRY_SECONDS)
    content = outcome.response(service_url).text()
    return Response(content, status_code=outcome.http_status, media_type=DICOM_JSON, headers=headers)


def _busy(message: str) -> TooBusy:
    return TooBusy(message, headers={"Retry-After": str(_RETRY_SECONDS)})
