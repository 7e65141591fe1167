"""Whole instances as an answer: as they are stored, or in Explicit VR Little Endian (PS3.18 10.4, 8.7.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from console.dicomweb.multipart import Multipart, Part
from console.dicomweb.resources import Given
from console.dicomweb.stored_files import StoredFile
from console.media_types import ANY_SYNTAX, ANY_TYPE, DICOM, EXPLICIT, MediaRange, for_parts
from console.request_errors import NotAcceptable
from dicom_gateway.errors import UndecodableObject
from storage.holdings.objects import HeldObject
from storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Instances:
    """An answer with instances; ``left_out`` are in no transfer syntax that the client takes."""

    body: Multipart | Part
    left_out: int


def answer(files: ObjectStore, given: Given, ranges: tuple[MediaRange, ...], *, is_single: bool) -> Instances:
    """Return instances in what a client takes; NotAcceptable where none can be given so.

    Where it names no transfer syntax, Explicit VR Little Endian is meant (PS3.18, Table 8.7.3-2); what cannot be given
    in it goes out as it is stored.
    """
    alone = [one for one in ranges if one.takes(DICOM) and not one.is_multipart and one.media_type != ANY_TYPE]
    several = list(for_parts(ranges, DICOM))
    first = next((one for one in ranges if one in alone or one in several), None)
    if first is None or (first in alone and not (is_single or several)):
        raise NotAcceptable(_FORMS)
    is_alone = is_single and first in alone
    syntaxes = [one.transfer_syntax for one in (alone if is_alone else several)]
    parts = [_part(files, one, size, syntaxes) for one, size in zip(given.objects, given.sizes, strict=True)]
    there = [part for part in parts if part is not None]
    if not there:
        stored = sorted({one.transfer_syntax_uid for one in given.objects})
        raise NotAcceptable(f"stored as {', '.join(stored)}: take transfer-syntax=* or {EXPLICIT}; {_FORMS}")
    left_out = len(parts) - len(there)
    return Instances(_alone(there[0]) if is_alone else Multipart.of(DICOM, there), left_out)


def _alone(part: Part) -> Part:
    """Return a part as a body of its own: one that makes its head does so now, and may fail."""
    if part.content_type or isinstance(part.content, (bytes, StoredFile)):
        return part
    try:
        head, content = part.content()
    except UndecodableObject as error:
        raise NotAcceptable(f"{error}: take transfer-syntax=*") from error
    content_type = head.decode().removeprefix("Content-Type: ").strip()
    return Part(content_type, content, len(content))


_FORMS = 'instances are multipart/related; type="application/dicom", one alone application/dicom, too'


def _part(files: ObjectStore, one: HeldObject, size: int, syntaxes: Iterable[str]) -> Part | None:
    """Return an instance in the first transfer syntax that it can be given in."""
    stored = one.transfer_syntax_uid
    for wanted in syntaxes:
        if wanted in (ANY_SYNTAX, stored) or (not wanted and stored == EXPLICIT):
            return _as_stored(one, size)
        if wanted in ("", EXPLICIT) and _can_be_explicit(stored):
            return _explicit(files, one, is_asked=bool(wanted))
        if not wanted:
            return _as_stored(one, size)
    return None


def _can_be_explicit(transfer_syntax_uid: str) -> bool:
    from console.dicomweb.transcoding import can_be_explicit

    return can_be_explicit(transfer_syntax_uid)


def _as_stored(one: HeldObject, size: int) -> Part:
    return Part(_content_type(one.transfer_syntax_uid), StoredFile(one.digest, size), size)


def _explicit(files: ObjectStore, one: HeldObject, *, is_asked: bool) -> Part:
    """Return a part that transcodes an instance; as it is stored where that fails and the client did not ask for it.

    Which of them it becomes is known late, so the part makes its own head.
    """
    from console.dicomweb.transcoding import explicit_file

    def made() -> Iterator[bytes]:
        syntax = EXPLICIT
        files.verify(one.digest)
        try:
            content = explicit_file(files.path(one.digest), one.digest)
        except UndecodableObject:
            if is_asked:
                raise
            syntax, content = one.transfer_syntax_uid, files.get(one.digest)
        yield f"Content-Type: {_content_type(syntax)}\r\n\r\n".encode()
        yield content

    return Part("", made)


def _content_type(transfer_syntax_uid: str) -> str:
    return f"{DICOM}; transfer-syntax={transfer_syntax_uid}"
