"""Viewers that are served from elsewhere: browsers let their pages read /dicom-web, and nothing else (Fetch, CORS)."""

from __future__ import annotations

import http
from collections.abc import Mapping

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.access.asked_host import path_of
from console.dicomweb.addresses import BASE

_METHODS = frozenset({"GET", "HEAD"})
_ASKED_METHOD = "access-control-request-method"
_PREFLIGHT: Mapping[str, str] = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Accept, Authorization, If-None-Match",
    "Access-Control-Max-Age": "600",
}
_EXPOSED: Mapping[str, str] = {"Access-Control-Expose-Headers": "Content-Length, ETag, Warning"}


class ViewerOrigins:
    """Answers the pages of some origins; cookies do not count for them, a token in their requests does."""

    def __init__(self, app: ASGIApp, *, origins: frozenset[str]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a browser that asks beforehand, and say to it of every answer whose pages may read it."""
        if scope["type"] != "http" or not self._is_known(request := Request(scope)):
            await self._app(scope, receive, send)
            return
        allowed = {"Access-Control-Allow-Origin": request.headers["origin"]}
        if request.method == "OPTIONS" and request.headers.get(_ASKED_METHOD) in _METHODS:
            ready = Response(
                status_code=http.HTTPStatus.NO_CONTENT, headers={**_PREFLIGHT, **allowed, "Vary": "Origin"}
            )
            await ready(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and request.method in _METHODS:
                headers = MutableHeaders(scope=message)
                headers.update({**_EXPOSED, **allowed})
                headers.append("Vary", "Origin")
            await send(message)

        await self._app(scope, receive, sent)

    def _is_known(self, request: Request) -> bool:
        return request.headers.get("origin", "") in self._origins and path_of(request).startswith(f"{BASE}/")
