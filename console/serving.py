"""The HTTP server of the pages: uvicorn, which looks around less often while nothing happens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn

_TICK_SECONDS = 0.5


class RestingServer(uvicorn.Server):
    """Sees a signal within half a second; requests are answered at once, as ever.

    ``on_stop`` is called when it is told to end, before it waits for the requests that are at work.
    """

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._on_stop = on_stop

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
