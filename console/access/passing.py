"""What every request and every answer passes, without a hand on the body: large ones stream through untouched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Next = Callable[[Request], Awaitable[Response]]
Check = Callable[[Request, Next], Awaitable[Response]]

_PASSED = Response()


class CheckedFirst:
    """Has a check answer a request or pass it on; what it passes on is answered behind it."""

    def __init__(self, app: ASGIApp, *, check: Check) -> None:
        self._app = app
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        answer = await self._check(Request(scope, receive), _pass_on) if scope["type"] == "http" else _PASSED
        await (self._app if answer is _PASSED else answer)(scope, receive, send)


class AlwaysSaid:
    """Puts the same headers on every answer."""

    def __init__(self, app: ASGIApp, *, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = dict(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, sent)


async def _pass_on(_: Request) -> Response:
    return _PASSED
