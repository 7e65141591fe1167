"""One instance on its way in: a data set streamed to a Part 10 file in the object store's own file system.

The bytes go to disk as they arrive, so memory does not grow with the size of an instance or the number of senders;
holding each data set in memory until it is complete would cost the largest instance times the number of associations.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from dicom_gateway.errors import InstanceTooLarge, UndecodableObject
from dicom_gateway.objects.equipment import IMPLEMENTATION_CLASS_UID
from dicom_gateway.receiving.elements import read_elements
from dicom_gateway.receiving.store_request import WANTED, StoreRequest
from storage.errors import OncueError, StorageFull
from storage.objects import ObjectStore

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PREAMBLE = bytes(128) + b"DICM"
_SPACE_CHECK_BYTES = 64 << 20
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An instance whose file is durable; digests in lower-case hex."""

    digest: str
    content_sha256: str
    size_bytes: int


class Spool(io.BytesIO):
    """What pynetdicom writes a message's data set into: a file instead of memory.

    It is a ``BytesIO`` because pynetdicom insists on one. A write never raises, since it runs in the thread that must
    go on reading the association: the first failure is kept in ``failure``, and what follows it is thrown away.
    """

    def __init__(self, objects: ObjectStore, request: StoreRequest, *, maximum_bytes: int) -> None:
        super().__init__()
        self.request = request
        self.failure: OncueError | None = None
        self._objects = objects
        self._maximum_bytes = maximum_bytes
        self._received = 0
        self._header = _file_header(request)
        self._content_sha = hashlib.sha256()
        self._file_sha = hashlib.sha256(self._header)
        self._file: BinaryIO | None = None
        self._path: Path | None = None

    @property
    def received_bytes(self) -> int:
        """Bytes of the data set that were received so far."""
        return self._received

    def write(self, piece: ReadableBuffer, /) -> int:
        """Append a fragment of the data set."""
        data = bytes(piece)
        if self.failure is None:
            try:
                self._append(data)
            except OncueError as error:
                self._give_up(error)
            except OSError as error:
                self._give_up(_disk_failure(error))
        return len(data)

    def elements(self) -> dict[int, bytes]:
        """Return the raw values of the elements that `identify` looks at; raises what went wrong while receiving."""
        if self.failure is not None:
            raise self.failure
        if self._file is None:
            raise UndecodableObject("the data set is empty")
        self._file.flush()
        with mmap(self._file.fileno(), 0, access=ACCESS_READ) as content:
            return read_elements(content, self.request.transfer_syntax_uid, WANTED, start=len(self._header))

    def keep(self) -> StoredFile:
        """Make the file durable under its digest; StorageFull where the disk will not."""
        if self._file is None or self._path is None:
            raise UndecodableObject("the data set is empty")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            digest = self._objects.adopt(self._path, self._file_sha.hexdigest())
        except OSError as error:
            raise _disk_failure(error) from error
        return StoredFile(digest, self._content_sha.hexdigest(), len(self._header) + self._received)

    def discard(self) -> None:
        """Close the file, and remove it unless it was kept."""
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._file = self._path = None

    def _append(self, data: bytes) -> None:
        if self._received + len(data) > self._maximum_bytes:
            raise InstanceTooLarge(f"the instance is larger than {self._maximum_bytes >> 20} megabytes")
        if self._received // _SPACE_CHECK_BYTES != (self._received + len(data)) // _SPACE_CHECK_BYTES:
            self._objects.require_space()
        file = self._file or self._open()
        self._file_sha.update(data)
        self._content_sha.update(data)
        file.write(data)
        self._received += len(data)

    def _open(self) -> BinaryIO:
        self._objects.require_space()
        handle, name = tempfile.mkstemp(dir=self._objects.incoming)
        self._path = Path(name)
        self._file = os.fdopen(handle, "w+b", buffering=_BUFFER_BYTES)
        self._file.write(self._header)
        return self._file

    def _give_up(self, error: OncueError) -> None:
        self.failure = error
        self.discard()


def _disk_failure(error: OSError) -> StorageFull:
    return StorageFull(f"could not write an incoming image ({error.strerror}); free disk space or check the disk")


def _file_header(request: StoreRequest) -> bytes:
    """Return preamble and file meta information (PS3.10 7.1). The preamble is zero: it could hold another program.

    No sender is named in it, so the same image from two senders is one object.
    """
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(request.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(request.sop_instance_uid)
    meta.TransferSyntaxUID = UID(request.transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = "ONCUE"
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_file_meta_info(buffer, meta)
    return _PREAMBLE + buffer.getvalue()
