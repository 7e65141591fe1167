"""The body of a request as a thread reads it: piece by piece, within bounds, while the server goes on."""

from __future__ import annotations

import http
from collections.abc import AsyncIterator

from anyio import fail_after, from_thread
from fastapi import Request

from console.request_errors import BodyTooLarge, RequestRefused


class BodyLate(RequestRefused):
    """Nothing of the body came for too long."""

    code = "body_late"
    http_status = http.HTTPStatus.REQUEST_TIMEOUT


class StoreBody:
    """Reads a body from a worker thread. ``is_done``: nothing of it is left to be read."""

    def __init__(self, request: Request, *, most_bytes: int, silent_seconds: float) -> None:
        self.is_done = False
        self._pieces: AsyncIterator[bytes] = request.stream()
        self._left = most_bytes
        self._most_bytes = most_bytes
        self._silent_seconds = silent_seconds

    def piece(self) -> bytes:
        """Return the next bytes, none at the end; BodyTooLarge, BodyLate."""
        if self.is_done:
            return b""
        piece = from_thread.run(self._next)
        self._left -= len(piece)
        if self._left < 0:
            self.is_done = True
            raise too_large(self._most_bytes)
        return piece

    async def _next(self) -> bytes:
        try:
            with fail_after(self._silent_seconds):
                async for piece in self._pieces:
                    if piece:
                        return piece
        except TimeoutError:
            self.is_done = True
            raise BodyLate(f"nothing of the body came for {self._silent_seconds:.0f} s") from None
        self.is_done = True
        return b""


def too_large(most_bytes: int) -> BodyTooLarge:
    """Return the error for a body of more than so many bytes."""
    return BodyTooLarge(f"the body is larger than {most_bytes >> 20} MiB: store fewer objects with one request")
