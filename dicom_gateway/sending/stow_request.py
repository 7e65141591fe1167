"""A STOW-RS request: Part 10 files as the parts of one body, read from disk as it is sent (PS3.18 10.5.1, 8.6.1.2)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from dicom_gateway.errors import UndecodableObject
from dicom_gateway.objects.equipment import IMPLEMENTATION_CLASS_UID, implementation_version_name
from dicom_gateway.sending.outgoing import Outgoing, data_set_offset, encoded

_PIECE_BYTES = 128 << 10
_MEDIA_TYPE = "application/dicom"
_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"


class PartUnreadable(UndecodableObject):
    """An object became unreadable in the middle of its request, which is of no use then."""

    def __init__(self, outgoing: Outgoing) -> None:
        super().__init__("the object cannot be read to its end")
        self.outgoing = outgoing


@dataclass(frozen=True, slots=True)
class StowPart:
    """One Part 10 file: on disk as it lies, or in memory where it had to be written anew."""

    outgoing: Outgoing
    size: int
    content: bytes | None

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes; PartUnreadable where the file is not what it was."""
        if self.content is not None:
            yield self.content
            return
        left = self.size
        try:
            with self.outgoing.path.open("rb", buffering=0) as file:
                while left and (piece := file.read(min(left, _PIECE_BYTES))):
                    # What stands in a preamble may be another program's (PS3.10 7.1): it stays here.
                    is_head = left == self.size and piece.startswith(_PREFIX, _PREAMBLE_BYTES)
                    left -= len(piece)
                    yield bytes(_PREAMBLE_BYTES) + piece[_PREAMBLE_BYTES:] if is_head else piece
        except OSError as error:
            raise PartUnreadable(self.outgoing) from error
        if left:
            raise PartUnreadable(self.outgoing)


class StowRequest:
    """The body of a request for some parts: ``length`` bytes, of the media type ``content_type``."""

    def __init__(self, parts: Sequence[StowPart]) -> None:
        boundary = secrets.token_hex(16)
        self._parts = parts
        self._head = f"\r\n--{boundary}\r\nContent-Type: {_MEDIA_TYPE}\r\n\r\n".encode()
        self._end = f"\r\n--{boundary}--\r\n".encode()
        self.content_type = f'multipart/related; type="{_MEDIA_TYPE}"; boundary={boundary}'
        self.length = sum(len(self._head) + part.size for part in parts) + len(self._end)

    def pieces(self) -> Iterator[bytes]:
        """Yield the body; PartUnreadable."""
        for part in self._parts:
            yield self._head
            yield from part.pieces()
        yield self._end


def make_part(outgoing: Outgoing, wanted: tuple[str, ...] | None) -> StowPart:
    """Return how an object travels: as it lies where its transfer syntax is wanted, else written in one that is.

    UndecodableObject; it must be able to travel in one of the wanted ones.
    """
    syntaxes = [proposal.transfer_syntax_uid for proposal in outgoing.travels_as(wanted)]
    try:
        if outgoing.transfer_syntax_uid in syntaxes and data_set_offset(outgoing) is not None:
            return StowPart(outgoing, outgoing.path.stat().st_size, None)
        content = _head(outgoing, syntaxes[0]) + encoded(outgoing, syntaxes[0])
    except OSError as error:
        raise _unreadable(error) from error
    return StowPart(outgoing, len(content), content)


def _head(outgoing: Outgoing, transfer_syntax_uid: str) -> bytes:
    """Return preamble, prefix and file meta information (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(outgoing.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(outgoing.sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = implementation_version_name()
    buffer = DicomBytesIO(bytes(128) + b"DICM")
    buffer.seek(0, os.SEEK_END)
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()


def _unreadable(error: OSError) -> UndecodableObject:
    return UndecodableObject(f"the object cannot be read: {type(error).__name__}")
