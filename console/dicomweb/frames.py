"""Frames and large values as an answer: as they are stored, or decoded (PS3.18 10.4, Tables 8.7.3-5 and 8.7.3-6)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from console.dicomweb.multipart import Multipart, Part
from console.dicomweb.pixel_places import PixelElement, PixelPlaces, find_places
from console.dicomweb.reading_faults import taken_apart
from console.dicomweb.stored_files import PIECE_BYTES
from console.dicomweb.transcoding import can_be_explicit, decoded_frames
from console.media_types import ANY_SYNTAX, ANY_TYPE, EXPLICIT, OCTETS, MediaRange
from console.request_errors import FramesInvalid, NotAcceptable
from dicom_gateway.errors import UndecodableObject
from storage.errors import ObjectMissing, RecordMissing
from storage.holdings.objects import HeldObject
from storage.objects import ObjectStore

_MEDIA_TYPES: Mapping[str, str] = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.92": "image/jpx",
    "1.2.840.10008.1.2.4.93": "image/jpx",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.4.100": "video/mpeg2",
    "1.2.840.10008.1.2.4.101": "video/mpeg2",
    "1.2.840.10008.1.2.4.102": "video/mp4",
    "1.2.840.10008.1.2.4.103": "video/mp4",
    "1.2.840.10008.1.2.4.104": "video/mp4",
    "1.2.840.10008.1.2.4.105": "video/mp4",
    "1.2.840.10008.1.2.4.106": "video/mp4",
    "1.2.840.10008.1.2.4.107": "video/H265",
    "1.2.840.10008.1.2.4.108": "video/H265",
}
"""The media type of a codestream by its transfer syntax."""

_LIST = re.compile(r"\d{1,7}(,\d{1,7})*")
_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class _Form:
    """How frames are given: their media type and transfer syntax, decoded or as they are stored."""

    media_type: str
    syntax: str
    is_decoded: bool
    is_multipart: bool


def frames(files: ObjectStore, one: HeldObject, wanted: str, ranges: tuple[MediaRange, ...]) -> Multipart | Part:
    """Return the frames that a list such as ``1,3`` names; NotAcceptable, FramesInvalid, RecordMissing."""
    path = files.path(one.digest)
    places = _places(path, one.digest[:12])
    if places is None:
        raise RecordMissing("the instance has no frames")
    numbers = _numbers(wanted, places.frames)
    form = _form(places, ranges, is_single=len(numbers) == 1)
    content_type = f"{form.media_type}; transfer-syntax={form.syntax}"
    if form.is_decoded:
        parts = _decoded(path, places, numbers, one.digest, content_type)
    else:
        parts = [_stored(path, places, number, content_type) for number in numbers]
    return Multipart.of(form.media_type, parts) if form.is_multipart else parts[0]


def pixels(
    files: ObjectStore, one: HeldObject, element: PixelElement, ranges: tuple[MediaRange, ...]
) -> Multipart | Part:
    """Return pixel data as a large value: native ones in one piece, codestreams each in a part of its own."""
    path = files.path(one.digest)
    if element.length is not None:
        length = element.length
        part = Part(OCTETS, lambda: _section(path, element.start, length), length)
        return as_octets(part, ranges)
    places = _places(path, one.digest[:12])
    if places is None:
        raise RecordMissing("the instance has no frames")
    return frames(files, one, ",".join(map(str, range(1, places.frames + 1))), ranges)


def as_octets(part: Part, ranges: tuple[MediaRange, ...]) -> Multipart | Part:
    """Return one value as bytes, in several parts or alone, as the client likes; NotAcceptable."""
    first = next((one for one in ranges if one.takes(OCTETS)), None)
    if first is None:
        raise NotAcceptable(f"large values are {OCTETS}, alone or in multipart/related")
    return part if not first.is_multipart and first.media_type != ANY_TYPE else Multipart.of(OCTETS, [part])


def _numbers(wanted: str, most: int) -> tuple[int, ...]:
    if _LIST.fullmatch(wanted) is None:
        raise FramesInvalid("give frames as numbers with commas between, such as 1,2,3")
    numbers = tuple(map(int, wanted.split(",")))
    if not all(1 <= number <= most for number in numbers):
        raise FramesInvalid(f"the instance has the frames 1 to {most}")
    return numbers


def _form(places: PixelPlaces, ranges: tuple[MediaRange, ...], *, is_single: bool) -> _Form:
    for one in ranges:
        if one.is_multipart or one.media_type == ANY_TYPE or is_single:
            form = _fitting(places, one)
            if form is not None:
                return form
    offered = f"{OCTETS} with transfer-syntax={EXPLICIT}"
    if places.is_encapsulated:
        offered = f"{_MEDIA_TYPES.get(places.syntax, OCTETS)} with transfer-syntax={places.syntax}, or {offered}"
    raise NotAcceptable(f"frames are multipart/related with parts of {offered}")


def _fitting(places: PixelPlaces, one: MediaRange) -> _Form | None:
    """Return how a range can be met. Without a transfer syntax, bytes are native samples (PS3.18, Table 8.7.3-2)."""
    is_multipart = one.is_multipart or one.media_type == ANY_TYPE
    if places.is_encapsulated:
        own = _MEDIA_TYPES.get(places.syntax, OCTETS)
        as_stored = one.transfer_syntax in (ANY_SYNTAX, places.syntax) or not can_be_explicit(places.syntax)
        is_named = not one.transfer_syntax and one.media_type not in (OCTETS, ANY_TYPE)
        if one.takes(own) and (as_stored or is_named):
            return _Form(own, places.syntax, is_decoded=False, is_multipart=is_multipart)
        if one.takes(OCTETS) and as_stored:
            return _Form(OCTETS, places.syntax, is_decoded=False, is_multipart=is_multipart)
    if one.takes(OCTETS) and one.transfer_syntax in ("", ANY_SYNTAX, EXPLICIT):
        return _Form(OCTETS, EXPLICIT, is_decoded=True, is_multipart=is_multipart)
    return None


def _decoded(path: Path, places: PixelPlaces, numbers: Sequence[int], digest: str, content_type: str) -> list[Part]:
    """Return decoded frames; the first is decoded at once, so that what no codec reads is refused."""
    first = next(_decoding(path, places, numbers[:1], digest))
    later = [
        Part(content_type, partial(decoded_frames, path, places, [number], digest), len(first))
        for number in numbers[1:]
    ]
    return [Part(content_type, first, len(first)), *later]


def _decoding(path: Path, places: PixelPlaces, numbers: Sequence[int], digest: str) -> Iterator[bytes]:
    try:
        yield from decoded_frames(path, places, numbers, digest)
    except UndecodableObject as error:
        raise NotAcceptable(f"{error}: take transfer-syntax=*") from error


def _stored(path: Path, places: PixelPlaces, number: int, content_type: str) -> Part:
    size = sum(length for _, length in places.extents[number - 1])

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            yield places.read(file, number)

    return Part(content_type, pieces, size)


def _section(path: Path, start: int, length: int) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while length > 0 and (piece := file.read(min(length, PIECE_BYTES))):
            yield piece
            length -= len(piece)


@lru_cache(maxsize=_REMEMBERED)
def _places(path: Path, name: str) -> PixelPlaces | None:
    try:
        with taken_apart():
            return find_places(path, name=name)
    except FileNotFoundError as error:
        raise ObjectMissing(f"object {name} is not in the store") from error
