"""Requests that no route takes as they are, as errors with a code: an unknown path, another method, a wrong value."""

from __future__ import annotations

import http
from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from storage.errors import OncueError

_MOST_FAULTS = 3


class RequestRefused(OncueError):
    """A request is not one that the console takes."""

    code = "request_refused"
    http_status: int = http.HTTPStatus.BAD_REQUEST

    def __init__(self, message: str, *, status: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.http_status = self.http_status if status is None else status
        self.headers = dict(headers or {})


class PathUnknown(RequestRefused):
    """Nothing stands at this path."""

    code = "path_unknown"
    http_status = http.HTTPStatus.NOT_FOUND


class MethodNotAllowed(RequestRefused):
    """The path is there, for other methods than this one."""

    code = "method_not_allowed"
    http_status = http.HTTPStatus.METHOD_NOT_ALLOWED


class RequestInvalid(RequestRefused):
    """A part of the path, of the question or of the body is not what it must be."""

    code = "request_invalid"
    http_status = http.HTTPStatus.UNPROCESSABLE_ENTITY


class MediaTypeUnsupported(RequestRefused):
    """The body is of another media type than the DICOM JSON model's."""

    code = "media_type_unsupported"
    http_status = http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class NotAcceptable(RequestRefused):
    """The answer is wanted in a media type that there is not."""

    code = "not_acceptable"
    http_status = http.HTTPStatus.NOT_ACCEPTABLE


class FramesInvalid(RequestRefused):
    """A list of frames is none, or names one that the instance has not."""

    code = "frames_invalid"


class BodyTooLarge(RequestRefused):
    """The body is larger than any workitem."""

    code = "body_too_large"
    http_status = http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class BodyInvalid(RequestRefused):
    """The body is no data set of the DICOM JSON model."""

    code = "body_invalid"


def of_routing(error: HTTPException) -> RequestRefused:
    """Return what the framework raised where no route fits."""
    if error.status_code == http.HTTPStatus.NOT_FOUND:
        return PathUnknown("nothing stands at this path; the paths are those of /api/openapi.json")
    if error.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "others")
        return MethodNotAllowed(f"this path takes {allowed}", headers=error.headers)
    return RequestRefused(str(error.detail), status=error.status_code, headers=error.headers)


def of_validation(error: RequestValidationError) -> RequestInvalid:
    """Return which values are wrong and what they should be; never the values, which may name a patient."""
    faults = [f"{_place(fault['loc'])}: {_lower(str(fault['msg']))}" for fault in error.errors()]
    more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
    return RequestInvalid("; ".join(faults[:_MOST_FAULTS]) + more)


def _place(location: tuple[int | str, ...]) -> str:
    where, *names = map(str, location)
    return f"{where} {'.'.join(names)}" if names else where


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
