"""Viewers that are served from elsewhere: browsers let their pages read /dicom-web, and nothing else (Fetch, CORS)."""

from __future__ import annotations

import http
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import Request, Response

from console.access.asked_host import path_of
from console.dicomweb.addresses import BASE

_METHODS = frozenset({"GET", "HEAD"})
_ASKED_METHOD = "access-control-request-method"
_PREFLIGHT: Mapping[str, str] = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Accept, Authorization, If-None-Match",
    "Access-Control-Max-Age": "600",
}


@dataclass(frozen=True, slots=True)
class ViewerOrigins:
    """Answers the pages of some origins; cookies do not count for them, a token in their requests does."""

    origins: frozenset[str]

    async def __call__(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Answer a browser that asks beforehand, and say to it of every answer whose pages may read it."""
        origin = request.headers.get("origin", "")
        if origin not in self.origins or not path_of(request).startswith(f"{BASE}/"):
            return await call_next(request)
        if request.method == "OPTIONS" and request.headers.get(_ASKED_METHOD) in _METHODS:
            response = Response(status_code=http.HTTPStatus.NO_CONTENT, headers=dict(_PREFLIGHT))
        elif request.method in _METHODS:
            response = await call_next(request)
            response.headers["Access-Control-Expose-Headers"] = "Content-Length, ETag, Warning"
        else:
            return await call_next(request)
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers.append("Vary", "Origin")
        return response
