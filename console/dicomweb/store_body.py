"""The body of a request as a thread reads it: piece by piece, within bounds, while the server goes on."""

from __future__ import annotations

import asyncio
import http
import time
from collections.abc import Callable
from dataclasses import dataclass

from anyio import from_thread
from fastapi import Request

from console.request_errors import BodyTooLarge, RequestRefused

_LOOK_SECONDS = 0.5
_LEAST_BYTES = 64 << 10
"""So much comes in ``silent_seconds`` of waiting at least: who sends less holds a place that others want."""


class BodyLate(RequestRefused):
    """Nothing of the body came for too long, or next to nothing."""

    code = "body_late"
    http_status = http.HTTPStatus.REQUEST_TIMEOUT


class ServerEnding(RequestRefused):
    """The server ends before the body does."""

    code = "server_ending"
    http_status = http.HTTPStatus.SERVICE_UNAVAILABLE
    retryable = True


@dataclass(frozen=True, slots=True)
class BodyBounds:
    """How large a body may be, how long nothing or little of it may come, and whether it is to end now."""

    most_bytes: int
    silent_seconds: float
    is_ending: Callable[[], bool]


class StoreBody:
    """Reads a body from a worker thread."""

    def __init__(self, request: Request, bounds: BodyBounds) -> None:
        self._pieces = aiter(request.stream())
        self._bounds = bounds
        self._left = bounds.most_bytes
        self._is_over = False
        self._waited_seconds = 0.0
        self._came_meanwhile = 0

    def piece(self) -> bytes:
        """Return the next bytes, none at the end; BodyTooLarge, BodyLate, ServerEnding."""
        while not self._is_over:
            began = time.monotonic()
            piece = from_thread.run(self._next)
            self._require_pace(time.monotonic() - began, len(piece))
            self._left -= len(piece)
            if self._left < 0:
                self._is_over = True
                raise too_large(self._bounds.most_bytes)
            if piece:
                return piece
        return b""

    def _require_pace(self, waited_seconds: float, size: int) -> None:
        """Raise BodyLate where too little came while it was waited for; what storing takes is not the sender's time."""
        self._waited_seconds += waited_seconds
        self._came_meanwhile += size
        if self._came_meanwhile >= _LEAST_BYTES:
            self._waited_seconds, self._came_meanwhile = 0.0, 0
        elif self._waited_seconds >= self._bounds.silent_seconds and not self._is_over:
            self._is_over = True
            raise BodyLate(f"less than {_LEAST_BYTES >> 10} KiB of the body came in {self._waited_seconds:.0f} s")

    async def _next(self) -> bytes:
        """Wait for the next bytes; none at the end, which is noted, or where a piece is empty."""
        coming = asyncio.ensure_future(anext(self._pieces, None))
        deadline = time.monotonic() + self._bounds.silent_seconds
        try:
            while not coming.done() and not self._bounds.is_ending() and time.monotonic() < deadline:
                await asyncio.wait({coming}, timeout=min(_LOOK_SECONDS, self._bounds.silent_seconds))
            if self._bounds.is_ending() or not coming.done():
                raise self._too_late()
            piece = await coming
        finally:
            coming.cancel()
        self._is_over = piece is None
        return piece or b""

    def _too_late(self) -> RequestRefused:
        self._is_over = True
        if self._bounds.is_ending():
            return ServerEnding("the server ends: send it again", headers={"Retry-After": "10"})
        return BodyLate(f"nothing of the body came for {self._bounds.silent_seconds:.0f} s")


def too_large(most_bytes: int) -> BodyTooLarge:
    """Return the error for a body of more than so many bytes."""
    return BodyTooLarge(f"the body is larger than {most_bytes >> 20} MiB: store fewer objects with one request")
