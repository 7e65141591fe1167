"""What becomes of a file of the journal: named by its digest, settled when its row is there, or set aside."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from pydicom.filereader import read_file_meta_info

from dicom_gateway.receiving.backlog import Acknowledged, arrival
from dicom_gateway.receiving.elements import read_elements
from dicom_gateway.receiving.store_request import WANTED, StoreRequest, identify
from storage import receipts
from storage.domain import StoredInstance
from storage.objects import ObjectStore, sync_folder
from storage.receipts import Receipt

_META_LENGTH_AT = 140
_META_AT = 144
_READ_BYTES = 1 << 20


def whole_receipt(path: Path) -> Receipt | None:
    """Return the receipt of a file that is all there, bit for bit; None for one that nobody was told is safe."""
    sha = hashlib.sha256(receipts.BLANK)
    with path.open("rb") as file:
        receipt = receipts.read(file.read(receipts.PREAMBLE_BYTES))
        if receipt is None or os.fstat(file.fileno()).st_size != receipt.size_bytes:
            return None
        while piece := file.read(_READ_BYTES):
            sha.update(piece)
    return receipt if sha.hexdigest() == receipt.digest else None


def acknowledged(path: Path, receipt: Receipt) -> Acknowledged:
    """Read once more what the row of a file says; GatewayError where the file does not say it."""
    meta = read_file_meta_info(path)
    request = StoreRequest(
        str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), str(meta.TransferSyntaxUID)
    )
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        elements = read_elements(content, request.transfer_syntax_uid, WANTED, start=_data_set_at(content[:_META_AT]))
    return Acknowledged(path, arrival(request, identify(elements, request), receipt))


def content_digest(objects: ObjectStore, instance: StoredInstance) -> str:
    """Return the SHA-256 of the data set alone of a stored file."""
    sha = hashlib.sha256()
    with objects.path(instance.digest).open("rb") as file:
        file.seek(_data_set_at(file.read(_META_AT)))
        while piece := file.read(_READ_BYTES):
            sha.update(piece)
    return sha.hexdigest()


def settle(objects: ObjectStore, images: Sequence[Acknowledged]) -> None:
    """Take files with committed rows out of the journal.

    Their names in the object store are made durable first: until then the journal's name is what a crash leaves.
    """
    objects.sync_names([image.digest for image in images])
    for image in images:
        with contextlib.suppress(FileNotFoundError):
            blank(image.path)
            image.path.unlink()


def mark_registered(images: Sequence[Acknowledged]) -> None:
    """Note in files that their rows are there, for those who ask which studies wait for rows."""
    for image in images:
        with contextlib.suppress(FileNotFoundError):
            _overwrite(image.path, receipts.REGISTERED, receipts.REGISTERED_AT)


def blank(path: Path) -> None:
    """Take the receipt out of a file."""
    _overwrite(path, receipts.BLANK, 0)


def _overwrite(path: Path, content: bytes, offset: int) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, content, offset)
    finally:
        os.close(descriptor)


def set_aside(objects: ObjectStore, path: Path, digest: str) -> None:
    """Move a file, with its receipt, to those that the database refused."""
    objects.set_aside.mkdir(exist_ok=True)
    path.replace(objects.set_aside / digest)
    sync_folder(objects.set_aside)
    sync_folder(objects.root)


def _data_set_at(start: bytes) -> int:
    return _META_AT + int.from_bytes(start[_META_LENGTH_AT:_META_AT], "little")
