"""Signing in and out: a page that takes a token, and a cookie that stands for it until it runs out."""

from __future__ import annotations

import http
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from console.access.authentication import Authentication
from console.access.cookies import forget_session_cookie, session_cookie, set_session_cookie
from console.access.visitor import address_of
from console.pages import form_fields, render, sign_in_address
from storage.access_errors import AccessRefused, TooManyAttempts

_START = "/"
_LONGEST_ADDRESS = 2000
_SEE_OTHER = http.HTTPStatus.SEE_OTHER


def router(authentication: Authentication) -> APIRouter:
    """Return the routes to sign in and out."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

    @routes.get("/sign-in")
    def form(request: Request, onwards: Annotated[str, Query(alias="next")] = _START) -> str:
        return _page(request, onwards)

    @routes.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        typed = await form_fields(request)
        secret, onwards = (typed.get(name, [""])[0].strip() for name in ("token", "next"))
        return await run_in_threadpool(_signed_in, request, authentication, secret=secret, onwards=onwards)

    @routes.post("/sign-out")
    def sign_out(request: Request) -> Response:
        answer = RedirectResponse(_START, status_code=_SEE_OTHER)
        secret = session_cookie(request)
        if secret is not None:
            authentication.sign_out(secret, address=address_of(request))
            forget_session_cookie(request, answer)
        return answer

    return routes


def way_in(request: Request) -> Response:
    """Lead whoever asked for a page to the sign-in, and from there back to it."""
    return RedirectResponse(sign_in_address(request), status_code=_SEE_OTHER)


def _signed_in(request: Request, authentication: Authentication, *, secret: str, onwards: str) -> Response:
    """Take a token for a cookie, or show the form again with what was wrong."""
    try:
        cookie = authentication.sign_in(secret, address=address_of(request), replaced=session_cookie(request))
    except AccessRefused as error:
        return _refused(request, error, onwards)
    answer = RedirectResponse(_of_ours(onwards), status_code=_SEE_OTHER)
    set_session_cookie(request, answer, cookie, lifetime=authentication.session_lifetime)
    return answer


def _refused(request: Request, error: AccessRefused, onwards: str) -> Response:
    is_limited = isinstance(error, TooManyAttempts)
    status = http.HTTPStatus.TOO_MANY_REQUESTS if is_limited else http.HTTPStatus.UNAUTHORIZED
    answer = HTMLResponse(_page(request, onwards, error), status_code=status)
    if isinstance(error, TooManyAttempts):
        answer.headers["Retry-After"] = str(error.seconds)
    return answer


def _page(request: Request, onwards: str, error: AccessRefused | None = None) -> str:
    return render(request, "sign_in.html", onwards=_of_ours(onwards), error=error, here="sign-in")


def _of_ours(address: str) -> str:
    """Return an address of this server, the start page in place of one that could lead a browser elsewhere."""
    is_path = address.startswith("/") and not address.startswith(("//", "/\\"))
    is_plain = address.isascii() and address.isprintable() and len(address) <= _LONGEST_ADDRESS
    return address if is_path and is_plain and not address.startswith("/sign-") else _START
