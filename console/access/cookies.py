"""The cookie of a browser that signed in: for this server alone, and out of reach of scripts and of other sites."""

from __future__ import annotations

from datetime import timedelta

from fastapi import Request, Response

from console.access.asked_host import AskedHost

_NAME = "oncue_session"


def session_cookie(request: Request) -> str | None:
    """Return what the cookie of a request holds, None where it has none."""
    return request.cookies.get(_name(request)) or None


def set_session_cookie(request: Request, answer: Response, secret: str, *, lifetime: timedelta) -> None:
    """Have the browser keep a session; over TLS it sends it over TLS alone."""
    answer.set_cookie(
        _name(request),
        secret,
        max_age=round(lifetime.total_seconds()),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def forget_session_cookie(request: Request, answer: Response) -> None:
    """Have the browser forget its session."""
    secure = request.url.scheme == "https"
    answer.delete_cookie(_name(request), path="/", secure=secure, httponly=True, samesite="strict")


def _name(request: Request) -> str:
    """Name the cookie by the port: browsers send cookies to every port of a machine, and each may be another oncue."""
    port = AskedHost.of(request).port
    return f"{_NAME}_{port}" if port else _NAME
