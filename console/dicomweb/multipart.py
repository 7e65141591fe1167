"""Bodies of several parts, as they stream: each part with its own headers (RFC 2046, 5.1; PS3.18 8.7.1)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from console.dicomweb.stored_files import PIECE_BYTES

Pieces = Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Part:
    """What one part holds; ``size_bytes`` is None where only sending it will tell."""

    content_type: str
    pieces: Pieces
    size_bytes: int | None = None


MadePart = Callable[[], Part]
"""Makes a part once it is its turn: what is transcoded for it is in memory only then."""


@dataclass(frozen=True, slots=True)
class Multipart:
    """A body of parts of one media type."""

    part_type: str
    parts: Sequence[Part | MadePart]
    boundary: str

    @classmethod
    def of(cls, part_type: str, parts: Sequence[Part | MadePart]) -> Multipart:
        """Return a body whose boundary nobody can have guessed, so that no part holds it."""
        return cls(part_type, parts, secrets.token_hex(16))

    @property
    def content_type(self) -> str:
        """What the answer says that it is."""
        return f'multipart/related; type="{self.part_type}"; boundary={self.boundary}'

    @property
    def size_bytes(self) -> int | None:
        """How long the body is; None where a part does not know."""
        size = len(self._end)
        for part in self.parts:
            if not isinstance(part, Part) or part.size_bytes is None:
                return None
            size += len(self._head(part)) + part.size_bytes
        return size

    def pieces(self) -> Iterator[bytes]:
        """Yield the body."""
        for one in self.parts:
            part = one if isinstance(one, Part) else one()
            yield self._head(part)
            yield from part.pieces()
        yield self._end

    def _head(self, part: Part) -> bytes:
        return f"\r\n--{self.boundary}\r\nContent-Type: {part.content_type}\r\n\r\n".encode()

    @property
    def _end(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()


def in_large_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces: each one that is sent costs as much as copying many times its bytes."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
