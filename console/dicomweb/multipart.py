"""Bodies of several parts: each part with its own headers (RFC 2046, 5.1; PS3.18 8.7.1)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from console.dicomweb.stored_files import StoredFile

Made = Callable[[], Iterable[bytes]]
"""Makes bytes once it is their turn: by a thread, and in memory only then."""
Content = StoredFile | bytes | Made
Step = Content


@dataclass(frozen=True, slots=True)
class Part:
    """What one part holds; ``size_bytes`` is None where only sending it will tell."""

    content_type: str
    content: Content
    size_bytes: int | None = None

    def steps(self) -> Iterator[Step]:
        """Yield what goes out."""
        yield self.content


@dataclass(frozen=True, slots=True)
class Multipart:
    """A body of parts of one media type; where a part makes its own head, its content type is empty."""

    part_type: str
    parts: Sequence[Part]
    boundary: str

    @classmethod
    def of(cls, part_type: str, parts: Sequence[Part]) -> Multipart:
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
            if part.size_bytes is None:
                return None
            size += len(self._head(part)) + part.size_bytes
        return size

    def steps(self) -> Iterator[Step]:
        """Yield what goes out, one after another."""
        for part in self.parts:
            yield self._head(part)
            yield part.content
        yield self._end

    def _head(self, part: Part) -> bytes:
        said = f"Content-Type: {part.content_type}\r\n\r\n" if part.content_type else ""
        return f"\r\n--{self.boundary}\r\n{said}".encode()

    @property
    def _end(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()
