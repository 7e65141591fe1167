"""The HTTP server of the pages: uvicorn, which looks around less often while nothing happens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn

_TICK_SECONDS = 0.5
_STALLED_SECONDS = 120.0


class RestingServer(uvicorn.Server):
    """Sees a signal within half a second; requests are answered at once, as ever.

    ``on_stop`` is called when it is told to end, before it waits for the requests that are at work. Whoever takes
    nothing of an answer for ``stalled_seconds`` is given up: each such connection holds a file and a piece in memory.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        on_stop: Callable[[], None] = lambda: None,
        stalled_seconds: float = _STALLED_SECONDS,
    ) -> None:
        super().__init__(config)
        self._on_stop = on_stop
        self._stalled_seconds = stalled_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; the kernel ends what stalls (tcp(7), TCP_USER_TIMEOUT: connections inherit it)."""
        await super().startup(sockets)
        for server in self.servers:
            for bound in server.sockets:
                bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self._stalled_seconds * 1000))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, behind the requests that are at work."""
        self._on_stop()
        await super().shutdown(sockets)

    async def main_loop(self) -> None:
        """Do uvicorn's chores twice a second instead of ten times; the zero has it set the Date header each time."""
        is_over = await self.on_tick(0)
        while not is_over:
            await asyncio.sleep(_TICK_SECONDS)
            is_over = await self.on_tick(0)
