"""The server of the pages as clients meet it that do not do their part."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from console.serving import RestingServer
from tests.support.gateways import until

_PIECE, _PIECES = bytes(1 << 20), 64


class _Large:
    """An application whose answer no socket holds; ``is_over`` once nobody waits to send it any more."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.is_over = threading.Event()
        self.application = FastAPI()
        self.application.add_api_route("/", self._answer)

    async def _answer(self) -> StreamingResponse:
        return StreamingResponse(self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        self.has_begun.set()
        try:
            for _ in range(_PIECES):
                yield _PIECE
        finally:
            self.is_over.set()


@pytest.fixture
def large() -> _Large:
    return _Large()


@pytest.fixture
def port(large: _Large) -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = RestingServer(
            uvicorn.Config(large.application, log_config=None, access_log=False), stalled_seconds=0.5
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        until(lambda: server.started, "the server")
        yield bound.getsockname()[1]
        server.should_exit = server.force_exit = True
        thread.join(30)


def test_whoever_takes_nothing_of_an_answer_is_given_up(large: _Large, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert large.has_begun.wait(30)
        assert large.is_over.wait(30)
