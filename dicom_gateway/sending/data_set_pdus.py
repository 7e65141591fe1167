"""A stored data set as P-DATA-TFs: read from disk straight between their heads, a window of them at a time."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import BinaryIO, Protocol

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


class FileSource:
    """The rest of an open file."""

    def __init__(self, file: BinaryIO, offset: int) -> None:
        self._descriptor = file.fileno()
        self._at = offset
        self.size = os.fstat(self._descriptor).st_size - offset

    def read_into(self, pieces: list[memoryview]) -> int:
        """Fill pieces from disk; the file's own position stays."""
        count = os.preadv(self._descriptor, pieces, self._at)
        self._at += count
        return count


class BytesSource:
    """A data set in memory."""

    def __init__(self, content: bytes) -> None:
        self._stream = io.BytesIO(content)
        self.size = len(content)

    def read_into(self, pieces: list[memoryview]) -> int:
        """Fill pieces from memory."""
        return sum(self._stream.readinto(piece) for piece in pieces)


class DataSetPdus:
    """Makes PDUs for a peer that takes P-DATA-TFs of ``maximum_pdu_bytes``, 0 for any; one buffer serves all."""

    def __init__(self, maximum_pdu_bytes: int) -> None:
        # The maximum leaves out the PDU's own header (PS3.8 D.1.1).
        room = maximum_pdu_bytes + HEADER.size - FRAGMENT_HEAD_BYTES if maximum_pdu_bytes else _LONGEST_FRAGMENT_BYTES
        self._fragment_bytes = max(2, min(room, _LONGEST_FRAGMENT_BYTES) & ~1)  # even, as DCMTK and others send them
        count = max(1, min(_WINDOW_BYTES // self._fragment_bytes, _MOST_PIECES))
        self._buffer = memoryview(bytearray(_AHEAD_BYTES + count * (FRAGMENT_HEAD_BYTES + self._fragment_bytes)))

    def of(self, context_id: int, source: DataSetSource, *, ahead: bytes = b"") -> Iterator[memoryview]:
        """Yield windows of whole PDUs; each holds until the next is asked for.

        The first begins with the PDUs ``ahead``, those of the command: sent by themselves they would wake the peer
        once more.

        OSError where the source is empty, ends early, or cannot be read: the first window is read before anything is
        yielded.
        """
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
