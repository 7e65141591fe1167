"""The parts of a multipart/related body, one after another as they arrive (RFC 2046 5.1, RFC 2387).

Nothing is guessed: a body that is not as the standard has it is broken, and so is one that ends before it says so.
"""

from __future__ import annotations

import email.message
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dicom_gateway.errors import BodyBroken

Source = Callable[[], bytes]
"""Returns the next bytes of the body, none at its end."""

_MOST_HEADER_BYTES = 8 << 10
_MOST_PREAMBLE_BYTES = 8 << 10
# The standard ends at 70 characters; Orthanc's boundaries have 73.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,254}[0-9A-Za-z'()+_,./:=?-]")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*)")


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type in lower case, with its parameters."""

    name: str
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> MediaType:
        """Read the value of a Content-Type header; empty where it names none."""
        message = email.message.Message()
        message["content-type"] = text
        name, *parameters = message.get_params(failobj=[("", "")])
        return cls(name[0].strip().lower(), {key.lower(): _plain(value) for key, value in parameters})


class RelatedPart:
    """One part: its header fields by lower-case name, and its content as a stream that is read once."""

    def __init__(self, headers: Mapping[str, str], take: Callable[[int], bytes]) -> None:
        self.headers = headers
        self._take = take

    @property
    def media_type(self) -> MediaType:
        """What its Content-Type says."""
        return MediaType.parse(self.headers.get("content-type", ""))

    def read(self, size: int = -1, /) -> bytes:
        """Return up to so many bytes of the content, none at its end; BodyBroken where the body ends inside it."""
        if size >= 0:
            return self._take(size)
        return b"".join(iter(lambda: self._take(1 << 16), b""))


class RelatedParts:
    """Reads the parts of one body. Memory holds a piece of it at a time."""

    def __init__(self, boundary: str, source: Source) -> None:
        self._delimiter = f"\r\n--{boundary}".encode()
        self._source = source
        # A body may begin with its first delimiter, whose line end is then the one before the body.
        self._held = bytearray(b"\r\n")
        self._is_in_part = False

    def __iter__(self) -> Iterator[RelatedPart]:
        """Yield each part; what the caller leaves unread of it is passed over. BodyBroken."""
        self._pass_over_preamble()
        while not self._is_end():
            headers = self._headers()
            self._is_in_part = True
            yield RelatedPart(headers, self._take)
            while self._is_in_part:
                self._take(1 << 16)

    def _pass_over_preamble(self) -> None:
        while (at := self._held.find(self._delimiter)) < 0:
            if len(self._held) > _MOST_PREAMBLE_BYTES or not self._more():
                break
        if not 0 <= at <= _MOST_PREAMBLE_BYTES:
            raise BodyBroken("the body has no part: the boundary of its Content-Type does not stand in it")
        del self._held[: at + len(self._delimiter)]

    def _is_end(self) -> bool:
        """Read what stands behind a delimiter: two hyphens at the end, blanks and a line end before a part."""
        while len(self._held) < 2 and self._more():  # noqa: PLR2004 - two hyphens
            pass
        if self._held.startswith(b"--"):
            return True
        while (at := self._held.find(b"\r\n")) < 0:
            if len(self._held) > _MOST_HEADER_BYTES or not self._more():
                raise BodyBroken("the body ends behind a boundary: the last one has two hyphens behind it")
        if self._held[:at].strip(b" \t"):
            raise BodyBroken("a boundary is followed by something else than the end of its line")
        del self._held[:at]
        return False

    def _headers(self) -> Mapping[str, str]:
        """Read the header fields of a part; what is held begins with the line end before them."""
        while (at := self._held.find(b"\r\n\r\n")) < 0 and len(self._held) <= _MOST_HEADER_BYTES:
            if not self._more():
                raise BodyBroken("the body ends inside the header of a part")
        if not 0 <= at <= _MOST_HEADER_BYTES:
            raise BodyBroken(f"the header of a part is longer than {_MOST_HEADER_BYTES >> 10} kilobytes")
        lines = self._held[:at].decode("latin-1").split("\r\n")[1:]
        # The line end before the content stays: a part without content ends with its delimiter's.
        del self._held[: at + 2]
        fields = [_HEADER.fullmatch(line) for line in lines]
        self._strip_line_end()
        return {field[1].lower(): field[2].strip() for field in fields if field is not None} if all(fields) else _bad()

    def _strip_line_end(self) -> None:
        """Let go of the line end before the content, unless it is the delimiter's own, of a part that is empty."""
        while len(self._held) < len(self._delimiter) and self._more():
            pass
        if not self._held.startswith(self._delimiter):
            del self._held[:2]

    def _take(self, size: int) -> bytes:
        """Return up to so many bytes of the part's content, none at its end."""
        if not self._is_in_part or size == 0:
            return b""
        while True:
            at = self._held.find(self._delimiter)
            if at == 0:
                del self._held[: len(self._delimiter)]
                self._is_in_part = False
                return b""
            there = at if at > 0 else len(self._held) - len(self._delimiter) + 1
            if there > 0:
                piece = bytes(self._held[: min(there, size)])
                del self._held[: len(piece)]
                return piece
            if not self._more():
                self._is_in_part = False
                raise BodyBroken("the body ends inside a part: no boundary follows it")

    def _more(self) -> bool:
        piece = self._source()
        self._held += piece
        return bool(piece)


def boundary_of(media_type: MediaType) -> str:
    """Return the boundary that a Content-Type names; BodyBroken where it is none."""
    boundary = media_type.parameters.get("boundary", "")
    if _BOUNDARY.fullmatch(boundary) is None:
        raise BodyBroken("the Content-Type names no boundary, or one that is none (RFC 2046 5.1.1)")
    return boundary


def _plain(value: str | tuple[str | None, str | None, str]) -> str:
    """Return the value of a parameter; of one with a character set and a language (RFC 2231) its text as it stands."""
    return value if isinstance(value, str) else value[2]


def _bad() -> Mapping[str, str]:
    raise BodyBroken("a line in the header of a part is no header field")
