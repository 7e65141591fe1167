"""The media types of DICOM, and those that a client takes, the one that it likes best first (PS3.18 8.7; RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import Request

from console.request_errors import NotAcceptable

DICOM, DICOM_JSON = "application/dicom", "application/dicom+json"
JSON_TYPES = (DICOM_JSON, "application/json")
OCTETS = "application/octet-stream"
RELATED = "multipart/related"
ANY_TYPE = "*/*"
EXPLICIT = "1.2.840.10008.1.2.1"
"""Explicit VR Little Endian, which is meant where nobody names a transfer syntax (PS3.18, Table 8.7.3-2)."""
ANY_SYNTAX = "*"
_ITEM = re.compile(r'(?:[^,"]|"[^"]*")+')
_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*(?:"([^"]*)"|([^;,\s]*))')
_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One media type that a client takes; of a multipart answer the type of its parts.

    ``transfer_syntax`` is a UID, ``*`` for whatever there is, and empty where nothing was said.
    """

    media_type: str
    is_multipart: bool = False
    transfer_syntax: str = ""
    quality: float = 1.0

    def takes(self, media_type: str) -> bool:
        """Say whether a media type is in the range."""
        kind = media_type.partition("/")[0]
        return self.media_type in (media_type, f"{kind}/*", ANY_TYPE)


def accepted(request: Request) -> tuple[MediaRange, ...]:
    """Return what a request takes; everything where it does not say.

    Its parameter ``accept`` counts for the header (PS3.18 8.3.3.1).
    """
    text = request.query_params.get("accept") or request.headers.get("accept") or ANY_TYPE
    found = [one for one in map(_range, _ITEM.findall(text[:_LONGEST])) if one.quality > 0]
    return tuple(sorted(found, key=lambda one: -one.quality))


def require_json(request: Request) -> None:
    """Raise NotAcceptable where whoever asks takes no JSON."""
    if not any(one.takes(known) and not one.is_multipart for one in accepted(request) for known in JSON_TYPES):
        raise NotAcceptable(f"answers are {DICOM_JSON}; there is no other form")


def for_parts(ranges: tuple[MediaRange, ...], media_type: str) -> Iterator[MediaRange]:
    """Yield the ranges that a multipart answer with parts of a media type fits; ``*/*`` is one of them."""
    return (one for one in ranges if one.takes(media_type) and (one.is_multipart or one.media_type == ANY_TYPE))


def _range(text: str) -> MediaRange:
    media_type = text.partition(";")[0].strip().lower()
    parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(text)}
    is_multipart = media_type == RELATED
    if is_multipart:
        media_type = parameters.get("type", ANY_TYPE).strip().lower()
    syntax = parameters.get("transfer-syntax", "").strip()
    return MediaRange(media_type, is_multipart, syntax, _quality(parameters.get("q", "1")))


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0
