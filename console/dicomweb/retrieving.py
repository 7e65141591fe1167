"""The routes of WADO-RS below /dicom-web: instances, metadata, frames and large values (PS3.18 10.4)."""

from __future__ import annotations

import hashlib
import http
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import StreamingResponse

from console.access.visitor import visitor
from console.dicomweb import instances
from console.dicomweb.addresses import BASE, base_of
from console.dicomweb.multipart import Multipart, Part
from console.dicomweb.resources import Given, Resources, Target
from console.dicomweb.streaming import stream
from console.media_types import DICOM_JSON, OCTETS, MediaRange, accepted, require_json
from dicom_gateway.errors import UndecodableObject
from storage.attributes import Attributes, element
from storage.errors import RecordMissing
from storage.history.readings import Looked
from storage.holdings.objects import HeldObject

log = structlog.get_logger(__name__)

_STUDY = "/studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"
_MARK = f"bulk-{secrets.token_hex(16)}"
"""Stands in kept metadata for where large values are; nothing that came from outside can hold it."""

_PLACE = r"^[0-9A-Fa-f]{8}(/[1-9][0-9]{0,5}/[0-9A-Fa-f]{8}){0,16}$"

Answer = Callable[..., Response]
Ranges = Annotated[tuple[MediaRange, ...], Depends(accepted)]
Uid = Annotated[str, Path(max_length=64)]
Place = Annotated[str, Path(pattern=_PLACE)]


def _study(study: Uid) -> Target:
    return Target(study)


def _series(study: Uid, series: Uid) -> Target:
    return Target(study, series)


def _instance(study: Uid, series: Uid, instance: Uid) -> Target:
    return Target(study, series, instance)


OneStudy = Annotated[Target, Depends(_study)]
OneSeries = Annotated[Target, Depends(_series)]
OneInstance = Annotated[Target, Depends(_instance)]


def router(resources: Resources) -> APIRouter:
    """Return the routes that give what is held."""
    routes = APIRouter(prefix=BASE, default_response_class=Response)
    _add_instances(routes, resources)
    _add_metadata(routes, resources)
    _add_values(routes, resources)
    return routes


def _add_instances(routes: APIRouter, resources: Resources) -> None:
    def given(request: Request, target: Target, ranges: tuple[MediaRange, ...]) -> Response:
        found = resources.give(target, actor=visitor(request), what=Looked.IMAGES)
        answer = instances.answer(resources.files, found, ranges, is_single=target.instance is not None)
        return _streamed(request, resources, _Answer(answer.body, found, answer.left_out))

    @_reads(routes, _STUDY)
    def retrieve_study(request: Request, target: OneStudy, ranges: Ranges) -> Response:
        """Return the instances of a study: those received, and what oncue wrote of it."""
        return given(request, target, ranges)

    @_reads(routes, _SERIES)
    def retrieve_series(request: Request, target: OneSeries, ranges: Ranges) -> Response:
        """Return the instances of a series."""
        return given(request, target, ranges)

    @_reads(routes, _INSTANCE)
    def retrieve_instance(request: Request, target: OneInstance, ranges: Ranges) -> Response:
        """Return one instance, as multipart/related or, where application/dicom is asked for, as the file alone."""
        return given(request, target, ranges)


def _add_metadata(routes: APIRouter, resources: Resources) -> None:
    def given(request: Request, target: Target) -> Response:
        require_json(request)
        found = resources.give(target, actor=visitor(request), what=Looked.HEADERS)
        part = Part(DICOM_JSON, lambda: _metadata(resources, found, base_of(request)))
        return _streamed(request, resources, _Answer(part, found))

    @_reads(routes, f"{_STUDY}/metadata")
    def study_metadata(request: Request, target: OneStudy) -> Response:
        """Return what the instances of a study say beside their pixels, in the DICOM JSON model."""
        return given(request, target)

    @_reads(routes, f"{_SERIES}/metadata")
    def series_metadata(request: Request, target: OneSeries) -> Response:
        """Return that of a series."""
        return given(request, target)

    @_reads(routes, f"{_INSTANCE}/metadata")
    def instance_metadata(request: Request, target: OneInstance) -> Response:
        """Return that of one instance."""
        return given(request, target)


def _add_values(routes: APIRouter, resources: Resources) -> None:
    @_reads(routes, f"{_INSTANCE}/frames/{{frames}}")
    def retrieve_frames(request: Request, target: OneInstance, frames: str, ranges: Ranges) -> Response:
        """Return frames by their numbers, such as `1,2,3`: as they are stored, or decoded where that is asked for."""
        from console.dicomweb.frames import frames as frames_of

        found = resources.give(target, actor=visitor(request), what=Looked.IMAGES)
        body = frames_of(resources.files, found.objects[0], frames, ranges)
        return _streamed(request, resources, _Answer(body, found))

    @_reads(routes, f"{_INSTANCE}/bulkdata/{{place:path}}")
    def retrieve_value(request: Request, target: OneInstance, place: Place, ranges: Ranges) -> Response:
        """Return a large value at the address that the metadata give."""
        found = resources.give(target, actor=visitor(request), what=Looked.IMAGES)
        body = _value(resources, found.objects[0], place.upper(), ranges)
        return _streamed(request, resources, _Answer(body, found))


def _reads(routes: APIRouter, path: str) -> Callable[[Answer], Answer]:
    """Have a function answer GET, and HEAD without a body."""

    def added(answer: Answer) -> Answer:
        routes.get(path)(answer)
        routes.head(path, include_in_schema=False)(answer)
        return answer

    return added


def _value(resources: Resources, one: HeldObject, place: str, ranges: tuple[MediaRange, ...]) -> Multipart | Part:
    from console.dicomweb import frames
    from console.dicomweb.metadata import large_value
    from console.dicomweb.pixel_places import PixelElement
    from console.dicomweb.reading_faults import taken_apart

    with taken_apart():
        value = large_value(resources.files.path(one.digest), place, name=one.digest[:12])
    if value is None:
        raise RecordMissing("the instance has no such value")
    if isinstance(value, PixelElement):
        return frames.pixels(resources.files, one, value, ranges)
    return frames.as_octets(Part(OCTETS, value, len(value)), ranges)


def _metadata(resources: Resources, given: Given, base: str) -> Iterator[bytes]:
    """Yield an array with the metadata of each instance. They are kept without the address that they were asked at."""
    yield b"["
    for number, one in enumerate(given.objects):
        where = f"{base}/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
        where += f"/instances/{one.sop_instance_uid}/bulkdata"
        content = resources.metadata.get(one.digest, partial(_read_metadata, resources, one))
        yield (b"," if number else b"") + content.replace(_MARK.encode(), where.encode())
    yield b"]"


def _read_metadata(resources: Resources, one: HeldObject) -> bytes:
    """Return the metadata of a file; of one that cannot be read what is on record, so that the others are given."""
    from console.dicomweb.metadata import metadata

    try:
        return metadata(resources.files.path(one.digest), name=one.digest[:12], bulk=_MARK)
    except UndecodableObject as error:
        log.warning("metadata.unreadable", code=error.code, reason=str(error))
        known = {
            "00080016": one.sop_class_uid,
            "00080018": one.sop_instance_uid,
            "0020000D": one.study_instance_uid,
            "0020000E": one.series_instance_uid,
        }
        return Attributes({tag: element("UI", uid) for tag, uid in known.items()}).text().encode()


@dataclass(frozen=True, slots=True)
class _Answer:
    """A body, what it is of, and how many of these are not in it though their files are there."""

    body: Multipart | Part
    given: Given
    left_out: int = 0


def _streamed(request: Request, resources: Resources, answer: _Answer) -> Response:
    """Answer a body as it is read; 206 with a warning where some of what was asked for is not in it."""
    body, given = answer.body, answer.given
    lacking = given.lacking + answer.left_out
    headers = {"ETag": _entity_tag(request, given), "Vary": "Accept"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=http.HTTPStatus.NOT_MODIFIED, headers=headers)
    if lacking:
        headers["Warning"] = f"299 oncue: {lacking} instances are not kept any more, or not in what you take"
    if body.size_bytes is not None:
        headers["Content-Length"] = str(body.size_bytes)
    status = http.HTTPStatus.PARTIAL_CONTENT if lacking else http.HTTPStatus.OK
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=body.content_type)
    return StreamingResponse(
        stream(resources.files, resources.intact, body),
        status_code=status,
        headers=headers,
        media_type=body.content_type,
    )


def _entity_tag(request: Request, given: Given) -> str:
    """Return a weak tag, as boundaries differ each time: of the objects, and of what was asked for of them."""
    asked = f"{request.url.path}\n{request.url.query}\n{request.headers.get('accept', '')}\n{given.tag}"
    return f'W/"{hashlib.sha256(asked.encode()).hexdigest()[:32]}"'
