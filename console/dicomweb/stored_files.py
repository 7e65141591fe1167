"""The bytes of stored files as they go out: a receipt in the preamble left out, and held to the digest beforehand."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from storage import receipts
from storage.errors import ObjectCorrupt, ObjectMissing, OncueError
from storage.objects import ObjectStore

PIECE_BYTES = 512 << 10
"""Bytes that are read and sent at once: they stay in the processor's cache in between."""
_REST_BYTES = 256 << 10
_REMEMBERED = 200_000

_Identity = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the object store that is to go out whole."""

    digest: str
    size_bytes: int


def size_of(objects: ObjectStore, digest: str) -> int | None:
    """Return the bytes of a file; None where it is not there."""
    try:
        return objects.path(digest).stat().st_size
    except FileNotFoundError:
        return None


class IntactFiles:
    """The files that this process has hashed and that nobody has written to since: reading them again costs no hash."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Identity] = OrderedDict()

    def check(self, digest: str) -> None:
        """Hash a file where that is not known; ObjectMissing, ObjectCorrupt."""
        if not self.knows(digest):
            before = self._identity(digest)
            self._objects.verify(digest)
            with self._lock:
                self._known[digest] = before
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)

    def knows(self, digest: str) -> bool:
        """Say whether a file is as it was when it was hashed; ObjectMissing."""
        with self._lock:
            known = self._known.get(digest)
        return known is not None and known == self._identity(digest)

    def _identity(self, digest: str) -> _Identity:
        try:
            found = self._objects.path(digest).stat()
        except FileNotFoundError as error:
            raise ObjectMissing(f"object {digest[:12]} is not in the store") from error
        return found.st_ino, found.st_size, found.st_ctime_ns


class Checks:
    """Files being hashed by a thread, in the order in which they go out, while earlier ones are being sent."""

    def __init__(self, intact: IntactFiles, files: Sequence[StoredFile]) -> None:
        self._intact = intact
        self._loop = asyncio.get_running_loop()
        self._due = {one.digest: self._loop.create_future() for one in files if not intact.knows(one.digest)}
        self._is_over = threading.Event()
        self._thread = self._loop.run_in_executor(None, self._check_all) if self._due else None

    async def passed(self, digest: str) -> None:
        """Wait until a file is known to be what was stored; ObjectMissing, ObjectCorrupt."""
        if (due := self._due.get(digest)) is not None and (error := await due) is not None:
            raise error

    async def end(self) -> None:
        """Hash nothing more, and wait for the thread."""
        self._is_over.set()
        if self._thread is not None:
            await self._thread

    def _check_all(self) -> None:
        for digest, due in self._due.items():
            if self._is_over.is_set():
                return
            error: OncueError | None = None
            try:
                self._intact.check(digest)
            except (ObjectMissing, ObjectCorrupt) as fault:
                error = fault
            self._loop.call_soon_threadsafe(_settle, due, error)


def _settle(due: asyncio.Future[Any], error: OncueError | None) -> None:
    if not due.done():
        due.set_result(error)


async def pieces(objects: ObjectStore, file: StoredFile) -> AsyncIterator[bytes | bytearray]:
    """Yield a file in pieces. What the system has in memory is read at once, what it has to fetch by a thread."""
    try:
        descriptor = os.open(objects.path(file.digest), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ObjectMissing(f"object {file.digest[:12]} is not in the store") from error
    try:
        position = 0
        while position < file.size_bytes:
            rest = file.size_bytes - position
            piece = await _read(descriptor, position, rest if rest <= PIECE_BYTES + _REST_BYTES else PIECE_BYTES)
            if not piece:
                raise ObjectCorrupt(f"object {file.digest[:12]} became shorter on disk")
            if position == 0 and receipts.begins_with_one(bytes(piece[: receipts.PREAMBLE_BYTES])):
                piece = receipts.BLANK + piece[receipts.PREAMBLE_BYTES :]
            position += len(piece)
            yield piece
    finally:
        os.close(descriptor)


async def _read(descriptor: int, position: int, size: int) -> bytes | bytearray:
    piece = bytearray(size)
    try:
        count = os.preadv(descriptor, [piece], position, os.RWF_NOWAIT)
    except OSError:  # it is not in memory, or the file system cannot say so
        return await asyncio.to_thread(os.pread, descriptor, size, position)
    return piece if count == size else piece[:count]
