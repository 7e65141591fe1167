"""One instance on its way in: a data set that becomes a Part 10 file in the journal, with one flush.

The first megabyte stays in memory: most images are whole by then, and are hashed and written in one piece, so threads
that receive at the same time hand the interpreter to one another a few times for each image and not for each fragment.
What is larger goes to disk as it arrives, so memory does not grow with the size of an instance.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from dicom_gateway.errors import InstanceTooLarge, UndecodableObject
from dicom_gateway.objects.equipment import IMPLEMENTATION_CLASS_UID
from dicom_gateway.receiving.buffers import BUFFER_BYTES, Buffers
from dicom_gateway.receiving.elements import ElementWalks
from dicom_gateway.receiving.journal_slots import disk_failure
from dicom_gateway.receiving.store_request import WANTED, StoreRequest
from storage import receipts
from storage.arrivals import Origin
from storage.errors import OncueError
from storage.journals import Slot
from storage.objects import ObjectStore
from storage.receipts import Receipt

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_SPACE_CHECK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class SpoolPlace:
    """What spools of one gateway share: where their files come from, and how large they may be."""

    objects: ObjectStore
    take_slot: Callable[[], Slot]
    buffers: Buffers
    walks: ElementWalks
    maximum_bytes: int


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A durable file of the journal, and the receipt that it begins with."""

    path: Path
    receipt: Receipt


class Spool:
    """Takes in the data set of one instance.

    A write never raises, for the association has to be read on: the first failure is kept in ``failure``, and what
    follows it is thrown away.
    """

    def __init__(self, place: SpoolPlace, request: StoreRequest) -> None:
        self.request = request
        self.failure: OncueError | None = None
        self._place = place
        self._header = file_meta(request)
        self._sha = hashlib.sha256(receipts.BLANK + self._header)
        self._received = 0
        self._buffer: bytearray | None = None
        self._filled = 0
        self._slot: Slot | None = None

    @property
    def received_bytes(self) -> int:
        """Bytes of the data set that were received so far."""
        return self._received

    def write(self, piece: ReadableBuffer, /) -> int:
        """Append a fragment of the data set."""
        data = memoryview(piece)
        if self.failure is None:
            try:
                self._append(data)
            except OncueError as error:
                self._give_up(error)
            except OSError as error:
                self._give_up(disk_failure(error))
        return len(data)

    def elements(self) -> dict[int, bytes]:
        """Return the raw values of the elements that `identify` looks at; raises what went wrong while receiving."""
        if self.failure is not None:
            raise self.failure
        if self._buffer is None:
            raise UndecodableObject("the data set is empty")
        syntax, walks = self.request.transfer_syntax_uid, self._place.walks
        if self._slot is None:
            with memoryview(self._buffer)[: self._filled] as content:
                return walks.read(content, syntax, WANTED)
        try:
            self._flush()
        except OSError as error:
            raise disk_failure(error) from error
        start = receipts.PREAMBLE_BYTES + len(self._header)
        with mmap(self._slot.descriptor, 0, access=ACCESS_READ) as content:
            return walks.read(content, syntax, WANTED, start=start)

    def keep(self, study_instance_uid: str, origin: Origin, *, received_at: datetime) -> KeptFile:
        """Make the file durable, with a receipt of where it belongs; StorageFull where the disk will not.

        From then on it is not this spool's any more.
        """
        try:
            slot = self._slot or self._place.take_slot()
            self._hash_buffer()
            receipt = self._receipt(study_instance_uid, origin, received_at)
            self._write_last(slot, receipts.preamble(receipt))
            os.fdatasync(slot.descriptor)
        except OSError as error:
            raise disk_failure(error) from error
        self._slot = None
        # All is durable, whatever closing says; and a descriptor is closed once, for its number is another's at once.
        with contextlib.suppress(OSError):
            os.close(slot.descriptor)
        return KeptFile(slot.path, receipt)

    def discard(self) -> None:
        """Remove the file unless it was kept, and give the memory back."""
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.discard()
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._place.buffers.give_back(buffer)

    def _append(self, data: memoryview) -> None:
        size = len(data)
        if self._received + size > self._place.maximum_bytes:
            raise InstanceTooLarge(f"the instance is larger than {self._place.maximum_bytes >> 20} megabytes")
        if self._received // _SPACE_CHECK_BYTES != (self._received + size) // _SPACE_CHECK_BYTES:
            self._place.objects.require_space()
        self._received += size
        while len(data):
            if self._buffer is None:
                self._buffer = self._place.buffers.take()
            if self._filled == BUFFER_BYTES:
                self._flush()
            part = data[: BUFFER_BYTES - self._filled]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            data = data[len(part) :]

    def _flush(self) -> None:
        """Write what the buffer holds to the slot, with no receipt yet: a file without one was not acknowledged."""
        if not self._filled or self._buffer is None:
            return
        slot = self._slot
        if slot is None:
            self._place.objects.require_space()
            slot = self._slot = self._place.take_slot()
            _write_all(slot.descriptor, [receipts.BLANK + self._header])
        self._hash_buffer()
        with memoryview(self._buffer)[: self._filled] as content:
            _write_all(slot.descriptor, [content])
        self._filled = 0

    def _hash_buffer(self) -> None:
        if self._buffer is not None:
            with memoryview(self._buffer)[: self._filled] as content:
                self._sha.update(content)

    def _write_last(self, slot: Slot, preamble: bytes) -> None:
        """Write what is not written yet; everything in one call where that is everything."""
        with memoryview(self._buffer or b"")[: self._filled] as content:
            if self._slot is None:
                self._slot = slot
                _write_all(slot.descriptor, [preamble + self._header, content])
                return
            _write_all(slot.descriptor, [content])
            os.pwrite(slot.descriptor, preamble, 0)

    def _receipt(self, study_instance_uid: str, origin: Origin, received_at: datetime) -> Receipt:
        return Receipt(
            digest=self._sha.hexdigest(),
            size_bytes=receipts.PREAMBLE_BYTES + len(self._header) + self._received,
            study_key=receipts.study_key(study_instance_uid),
            calling_aet=origin.calling_aet,
            association_id=origin.association_id,
            lane=origin.lane,
            received_at=received_at,
        )

    def _give_up(self, error: OncueError) -> None:
        self.failure = error
        self.discard()


def _write_all(descriptor: int, pieces: list[bytes | memoryview]) -> None:
    """Write pieces in full: the system may take less at once, before a full disk for one."""
    written = os.writev(descriptor, pieces)
    for piece in pieces:
        rest = memoryview(piece)[written:] if written < len(piece) else None
        written = max(written - len(piece), 0)
        while rest is not None and len(rest):
            rest = rest[os.write(descriptor, rest) :]


def file_meta(request: StoreRequest) -> bytes:
    """Return what stands between the preamble and the data set: prefix and file meta information (PS3.10 7.1).

    No sender is named in it, so the same image from two senders is one object.
    """
    before, after = _meta_frame(request.sop_class_uid, request.transfer_syntax_uid)
    uid = request.sop_instance_uid.encode("ascii")
    uid += b"\0" * (len(uid) % 2)
    element = b"\x02\x00\x03\x00UI" + len(uid).to_bytes(2, "little") + uid
    length = len(before) + len(element) + len(after)
    return b"DICM\x02\x00\x00\x00UL\x04\x00" + length.to_bytes(4, "little") + before + element + after


@lru_cache(maxsize=256)
def _meta_frame(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """Return the encoded elements before and behind the SOP Instance UID: the same for every image of a series."""
    marker = "2.25.1"
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(marker)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = "ONCUE"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_file_meta_info(buffer, meta)
    elements = buffer.getvalue()
    before, after = elements.split(b"\x02\x00\x03\x00UI\x06\x00" + marker.encode())
    return before[before.index(b"\x02\x00\x01\x00") :], after
