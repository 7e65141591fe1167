"""Bodies on their way out: files as they lie, and what has to be made by a thread, one piece ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable

import structlog

from console.dicomweb.multipart import Made, Multipart, Part, Step
from console.dicomweb.stored_files import PIECE_BYTES, Checks, IntactFiles, StoredFile, pieces
from storage.errors import OncueError
from storage.objects import ObjectStore

log = structlog.get_logger(__name__)


async def stream(objects: ObjectStore, intact: IntactFiles, body: Multipart | Part) -> AsyncIterator[bytes]:
    """Yield a body; where it cannot go on the connection breaks off, so that nobody takes what came for the whole.

    No byte of a file goes out before all of it is known to be what was stored.
    """
    parts = body.parts if isinstance(body, Multipart) else (body,)
    checks = Checks(intact, [part.content for part in parts if isinstance(part.content, StoredFile)])
    head = b""
    try:
        for step in body.steps():
            async for piece in _pieces(objects, checks, step):
                if isinstance(step, bytes):
                    head += piece
                else:
                    yield head + piece
                    head = b""
        if head:
            yield head
    except OncueError as error:
        log.warning("retrieval.broken", code=error.code, reason=str(error))
        raise
    finally:
        await checks.end()


async def _pieces(objects: ObjectStore, checks: Checks, step: Step) -> AsyncIterator[bytes | bytearray]:
    if isinstance(step, bytes):
        yield step
    elif isinstance(step, StoredFile):
        await checks.passed(step.digest)
        async for piece in pieces(objects, step):
            yield piece
    else:
        async for piece in _made(step):
            yield piece


async def _made(content: Made) -> AsyncIterator[bytes]:
    """Yield what a thread makes, joined to large pieces, and have it make one ahead."""
    joined = _joined(content())
    coming = asyncio.create_task(asyncio.to_thread(next, joined, b""))
    try:
        while piece := await coming:
            coming = asyncio.create_task(asyncio.to_thread(next, joined, b""))
            yield piece
    finally:
        if not coming.done():
            await asyncio.wait([coming])
        if not coming.cancelled():
            coming.exception()  # a fault in what nobody waits for any more has nobody to be told to
        joined.close()


def _joined(made: Iterable[bytes]) -> Generator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for piece in made:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
