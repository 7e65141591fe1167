"""Senders for the listener's tests: a polite pynetdicom SCU, and one that writes whatever bytes it is given."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from storage.uids import deterministic_uid

LOOPBACK = "127.0.0.1"
_FRAGMENT_BYTES = 1 << 16
_ACCEPTANCE, _ABORT = 0x02, 0x07  # types of PDUs (PS3.8 9.3.1)
_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"


def ct_image(study: str = "study", number: int = 1, *, rows: int = 16, value: int = 0) -> Dataset:
    """Return a small CT image; the same study and number give the same UIDs, ``value`` fills its pixels."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SpecificCharacterSet = "ISO_IR 100"
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = deterministic_uid("test-ct", study, str(number))
    image.StudyInstanceUID = deterministic_uid("test-study", study)
    image.SeriesInstanceUID = deterministic_uid("test-series", study)
    image.StudyDate = "20260301"
    image.AccessionNumber = "ACC-1"
    image.Modality = "CT"
    image.StudyDescription = "Thorax"
    image.PatientName = "Größe^Zoë"
    image.PatientID = "PATIENT-17"
    image.InstanceNumber = number
    image.Rows = image.Columns = rows
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = 0
    image.PixelData = struct.pack("<H", value) * (rows * rows)
    return image


def encoded(dataset: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """Encode a data set alone, as it travels in C-STORE."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax_uid == ImplicitVRLittleEndian
    buffer.is_little_endian = True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def data_set_bytes(part10: bytes) -> bytes:
    """Return what stands behind the file meta information of a Part 10 file (PS3.10 7.1)."""
    (length,) = struct.unpack_from("<L", part10, 140)
    return part10[144 + length :]


@contextlib.contextmanager
def association(
    port: int,
    contexts: Sequence[PresentationContext] | None = None,
    *,
    called_aet: str = "ONCUE",
    calling_aet: str = "MODALITY",
    address: str = LOOPBACK,
) -> Iterator[Association]:
    """Open an association with the listener and release it; it need not have been accepted.

    ``address`` is ours: every address of 127.0.0.0/8 is this machine's, so peers can be told apart by theirs.
    """
    entity = AE(ae_title=calling_aet)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    proposed = list(contexts or [build_context(CTImageStorage, ExplicitVRLittleEndian), build_context(Verification)])
    sockets: list[socket.socket | None] = []
    opened = entity.associate(
        LOOPBACK,
        port,
        contexts=proposed,
        ae_title=called_aet,
        max_pdu=131_072,
        bind_address=(address, 0),
        evt_handlers=[(evt.EVT_CONN_OPEN, lambda event: sockets.append(event.assoc.dul.socket.socket))],
    )
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()
        for connection in sockets:
            if connection is not None:
                connection.close()  # pynetdicom leaves it open where the peer was the first to go


def store(port: int, *images: Dataset | Path, calling_aet: str = "MODALITY") -> list[int]:
    """Send images over one association, each in its own transfer syntax, and return the statuses (-1: no answer)."""
    datasets = [pydicom.dcmread(image) if isinstance(image, Path) else image for image in images]
    pairs = {(item.SOPClassUID, item.file_meta.TransferSyntaxUID) for item in datasets}
    with association(port, [build_context(*pair) for pair in sorted(pairs)], calling_aet=calling_aet) as opened:
        assert opened.is_established
        return [int(opened.send_c_store(item).get("Status", -1)) for item in datasets]


def echoes(port: int) -> bool:
    """Say whether the listener answers C-ECHO."""
    with association(port) as opened:
        return opened.is_established and opened.send_c_echo().get("Status") == 0


class RawSender:
    """An association written by hand, so that nothing keeps what it sends within the rules."""

    def __init__(
        self,
        port: int,
        *,
        transfer_syntax_uid: str = ExplicitVRLittleEndian,
        sop_class_uid: str = CTImageStorage,
        calling_aet: str = "HOSTILE",
        connection: socket.socket | None = None,
    ) -> None:
        self.socket = connection or socket.create_connection((LOOPBACK, port), timeout=20)
        try:
            self.socket.sendall(associate_request(sop_class_uid, transfer_syntax_uid, calling_aet=calling_aet))
            kind, _ = self.read_pdu()
            if kind != _ACCEPTANCE:
                raise ConnectionRefusedError(f"the association was not accepted: PDU type {kind}")
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def store(self, sop_instance_uid: str, data_set: bytes, *, sop_class_uid: str = CTImageStorage) -> int:
        """Send a C-STORE request with any UID and any bytes, and return the status of the answer."""
        self.send_command(sop_instance_uid, sop_class_uid=sop_class_uid)
        for at in range(0, max(len(data_set), 1), _FRAGMENT_BYTES):
            last = at + _FRAGMENT_BYTES >= len(data_set)
            self.send_fragment(data_set[at : at + _FRAGMENT_BYTES], control=0b10 if last else 0)
        return self.read_status()

    def send_command(
        self, sop_instance_uid: str, *, sop_class_uid: str = CTImageStorage, field: int = 0x0001, data_set: int = 1
    ) -> None:
        """Send the command set of a request, a C-STORE unless ``field`` says otherwise (PS3.7 9.3.1)."""
        elements = (
            _element(0x0002, _even(sop_class_uid)),
            _element(0x0100, struct.pack("<H", field)),
            _element(0x0110, struct.pack("<H", 7)),
            _element(0x0700, struct.pack("<H", 0)),
            _element(0x0800, struct.pack("<H", data_set)),
            _element(0x1000, _even(sop_instance_uid)),
        )
        body = b"".join(elements)
        self.send_fragment(_element(0x0000, struct.pack("<L", len(body))) + body, control=0b11)

    def send_fragment(self, content: bytes, *, control: int) -> None:
        """Send one P-DATA-TF with one fragment (PS3.8 9.3.5)."""
        fragment = struct.pack(">LBB", len(content) + 2, 1, control) + content
        self.socket.sendall(struct.pack(">BBL", 0x04, 0, len(fragment)) + fragment)

    def read_pdu(self) -> tuple[int, bytes]:
        """Read one PDU: its type and its content; ConnectionError where the listener closed."""
        kind, _, length = struct.unpack(">BBL", self._exactly(6))
        return kind, self._exactly(length)

    def read_status(self) -> int:
        """Read the answer to a C-STORE request and return its status; ConnectionError for an abort."""
        kind, content = self.read_pdu()
        if kind != 0x04:
            raise ConnectionError(f"PDU type {kind} instead of an answer")
        at = content.index(struct.pack("<HH", 0x0000, 0x0900))
        return int(struct.unpack_from("<H", content, at + 8)[0])

    def is_cut(self) -> bool:
        """Wait for the listener's next word, and say whether it was an abort or the end of the connection."""
        try:
            kind, _ = self.read_pdu()
        except ConnectionError:
            return True
        return kind == _ABORT

    def is_aborted(self) -> bool:
        """Wait for the listener's next word, and say whether it was an abort."""
        return self.read_pdu()[0] == _ABORT

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            piece = self.socket.recv(count - len(received))
            if not piece:
                raise ConnectionError("the listener closed the connection")
            received += piece
        return received


def associate_request(
    sop_class_uid: str = CTImageStorage,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    *,
    calling_aet: str = "HOSTILE",
) -> bytes:
    """Encode an A-ASSOCIATE-RQ that proposes one SOP class in one transfer syntax as context 1."""
    context = build_context(sop_class_uid, transfer_syntax_uid)
    context.context_id = 1
    length = MaximumLengthNotification()
    length.maximum_length_received = 16384
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = pydicom.uid.UID("1.2.3.4")
    request = A_ASSOCIATE()
    request.application_context_name = _APPLICATION_CONTEXT
    request.calling_ae_title = calling_aet
    request.called_ae_title = "ONCUE"
    request.presentation_context_definition_list = [context]
    request.user_information = [length, implementation]
    return bytes(A_ASSOCIATE_RQ(request).encode())


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHL", 0x0000, element, len(value)) + value


def _even(text: str) -> bytes:
    value = text.encode()
    return value + b"\0" * (len(value) % 2)
