"""The guard before every route: what changes something needs a token, and away from loopback so does reading."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from console.access.asked_host import AskedHost, path_of
from console.access.authentication import Authentication
from console.access.cookies import session_cookie
from console.access.visitor import Visitor, address_of
from storage.access_errors import ForeignOrigin, TokenMissing
from storage.errors import OncueError

ONLY_READ = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, 9.2.1)."""

_QUESTIONS = frozenset({"/audit/question", "/api/audit/patient-key"})
"""Posts that change nothing: what they ask for has no place in an address."""

_OPEN = frozenset({"/sign-in", "/sign-out", "/healthz"})
_OPEN_FOLDER = "/static/"
_BEARER = "bearer "
_LOOPBACK_NAME = "localhost"

Next = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Which requests need a token. ``is_reading_open`` lets whoever is on this machine read without one."""

    is_reading_open: bool

    def needs_token(self, request: Request) -> bool:
        """Say whether a request is for somebody with a token alone."""
        path = path_of(request)
        if path in _OPEN or path.startswith(_OPEN_FOLDER):
            return False
        return changes_something(request) or not (self.is_reading_open and _is_local(request))


class AccessGuard:
    """Finds out who asks, and refuses what they may not do before anything of the request's body is read."""

    def __init__(
        self, authentication: Authentication, policy: AccessPolicy, *, answer: Callable[[Request, OncueError], Response]
    ) -> None:
        self._authentication = authentication
        self._policy = policy
        self._answer = answer

    async def __call__(self, request: Request, call_next: Next) -> Response:
        """Pass a request on, or answer it."""
        try:
            request.state.visitor = await self._visitor(request)
            if request.state.visitor.name is None and self._policy.needs_token(request):
                await self._refuse(request)
        except OncueError as error:
            return self._answer(request, error)
        return await call_next(request)

    async def _visitor(self, request: Request) -> Visitor:
        address = address_of(request)
        given = request.headers.get("authorization", "")
        if given[: len(_BEARER)].lower() == _BEARER:
            secret = given[len(_BEARER) :].strip()
            return await run_in_threadpool(self._authentication.by_token, secret, address=address)
        cookie = session_cookie(request)
        if cookie is None:
            return Visitor(address)
        found = await run_in_threadpool(self._authentication.by_cookie, cookie, address=address)
        if found.name is not None and changes_something(request):
            _require_our_page(request)
        return found

    async def _refuse(self, request: Request) -> None:
        """Raise TokenMissing; what was to change something goes on record."""
        error = TokenMissing("give a token: sign in on the pages, or send it as `Authorization: Bearer TOKEN`")
        if changes_something(request):
            await run_in_threadpool(self._authentication.note_refusal, address_of(request), error)
        raise error


def changes_something(request: Request) -> bool:
    """Say whether a request may change something."""
    return request.method not in ONLY_READ and path_of(request) not in _QUESTIONS


def _require_our_page(request: Request) -> None:
    """Raise ForeignOrigin for a change by cookie of which the browser does not say that a page of ours sent it.

    An origin that is not ours was refused before; a browser that sends a cookie and no origin at all is not believed.
    """
    if request.headers.get("origin") is None and request.headers.get("sec-fetch-site") != "same-origin":
        raise ForeignOrigin("the browser does not say which page sent this; send a token as `Authorization: Bearer`")


def _is_local(request: Request) -> bool:
    """Say whether a request came over loopback and asked for a name of it: one that a proxy passes on did not."""
    address = address_of(request)
    return _is_loopback(AskedHost.of(request).name) and (_is_loopback(address) or not _is_address(address))


def _is_loopback(host: str) -> bool:
    return host == _LOOPBACK_NAME or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
