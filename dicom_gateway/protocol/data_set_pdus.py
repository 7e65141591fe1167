"""A stored data set as P-DATA-TFs: read from disk straight between their heads, a window of them at a time."""

from __future__ import annotations

import io
import os
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

from dicom_gateway.protocol.pdus import FRAGMENT_HEAD_BYTES, HEADER, fragment_head

_WINDOW_BYTES = 1 << 20
_AHEAD_BYTES = 1 << 10  # a command with two UIDs takes a quarter of it
_LONGEST_FRAGMENT_BYTES = 128 << 10
_MOST_PIECES = 512  # of one readv; systems allow 1024


class DataSetSource(Protocol):
    """Where the bytes of a data set come from; ``size`` is how many there are."""

    size: int

    def read_into(self, pieces: list[memoryview]) -> int:
        """Fill the pieces with what comes next, and return how many bytes that were; OSError."""
        ...

    def close(self) -> None:
        """Let go of what it reads from; nothing is read after that."""
        ...


class FileSource:
    """The rest of a file from an offset on. OSError where it cannot be opened; whoever makes one closes it."""

    def __init__(self, path: Path, offset: int) -> None:
        # Not ``open``: a file object costs as much again as the system call, and nothing of it is used.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._at = offset
        self.size = os.fstat(self._descriptor).st_size - offset

    def read_into(self, pieces: list[memoryview]) -> int:
        """Fill pieces from disk."""
        count = os.preadv(self._descriptor, pieces, self._at)
        self._at += count
        return count

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class BytesSource:
    """A data set in memory."""

    def __init__(self, content: bytes) -> None:
        self._stream = io.BytesIO(content)
        self.size = len(content)

    def read_into(self, pieces: list[memoryview]) -> int:
        """Fill pieces from memory."""
        return sum(self._stream.readinto(piece) for piece in pieces)

    def close(self) -> None:
        """Let go of the bytes."""
        self._stream.close()


class DataSetPdus:
    """Makes PDUs for a peer that takes P-DATA-TFs of ``maximum_pdu_bytes``, 0 for any; one buffer serves all."""

    def __init__(self, maximum_pdu_bytes: int) -> None:
        # The maximum leaves out the PDU's own header (PS3.8 D.1.1).
        room = maximum_pdu_bytes + HEADER.size - FRAGMENT_HEAD_BYTES if maximum_pdu_bytes else _LONGEST_FRAGMENT_BYTES
        self._fragment_bytes = max(2, min(room, _LONGEST_FRAGMENT_BYTES) & ~1)  # even, as DCMTK and others send them
        count = max(1, min(_WINDOW_BYTES // self._fragment_bytes, _MOST_PIECES))
        self._buffer = memoryview(bytearray(_AHEAD_BYTES + count * (FRAGMENT_HEAD_BYTES + self._fragment_bytes)))

    def of(self, context_id: int, source: DataSetSource, *, ahead: bytes = b"") -> Generator[memoryview]:
        """Yield windows of whole PDUs; each holds until the next is asked for, of this data set or of another one.

        The first begins with the PDUs ``ahead``, those of the command: sent by themselves they would wake the peer
        once more. The source is closed behind the last window, and where the windows are closed before.

        OSError where the source is empty, ends early, or cannot be read: the first window is read before anything is
        yielded.
        """
        try:
            left, begun = source.size, len(ahead)
            if left < 1:
                raise OSError("there is no data set")
            self._buffer[:begun] = ahead
            while left:
                at, pieces = begun, []
                while left and at + FRAGMENT_HEAD_BYTES + min(left, self._fragment_bytes) <= len(self._buffer):
                    size = min(left, self._fragment_bytes)
                    left -= size
                    begin = at + FRAGMENT_HEAD_BYTES
                    self._buffer[at:begin] = fragment_head(context_id, size, is_last=not left)
                    pieces.append(self._buffer[begin : begin + size])
                    at = begin + size
                _fill(source, pieces)
                yield self._buffer[:at]
                begun = 0
        finally:
            source.close()


def _fill(source: DataSetSource, pieces: list[memoryview]) -> None:
    """Read until every piece is full; a read may end early, within a piece."""
    while pieces:
        count = source.read_into(pieces)
        if not count:
            raise OSError("the file ends before its data set does")
        while pieces and count >= len(pieces[0]):
            count -= len(pieces.pop(0))
        if pieces and count:
            pieces[0] = pieces[0][count:]
