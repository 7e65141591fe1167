"""A file that is to be sent: what its data set says of it, and whether its bytes can travel as they lie on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom.dsutils import encode, split_dataset

from dicom_gateway.errors import UndecodableObject
from dicom_gateway.privacy import keep_identifiers_out_of_logs
from dicom_gateway.pydicom_faults import FAULTS
from dicom_gateway.sending.file_head import read_head
from dicom_gateway.sending.proposals import Proposal
from storage.uids import is_uid

# Every peer takes Implicit VR (PS3.5 10.1). Deflated is unpacked: few peers take it, and it may not end even.
TRAVELS_AS: Mapping[str, tuple[str, ...]] = {
    ImplicitVRLittleEndian: (ImplicitVRLittleEndian,),
    ExplicitVRLittleEndian: (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    DeflatedExplicitVRLittleEndian: (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One file to send, and what its data set says of it; ``transfer_syntax_uid`` is how it is encoded on disk.

    ``data_set_at`` is where its data set begins, if that is known and it can travel as it lies. ``verify``, where it is
    given, is called before it is read: StorageError there says that it is not as it was stored, and must not leave.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set_at: int | None = None
    verify: Callable[[], None] | None = field(default=None, compare=False)

    @property
    def has_invalid_uid(self) -> bool:
        """Whether its SOP Instance UID breaks PS3.5 9.1, by zeros that lead a component for one."""
        return not UID(self.sop_instance_uid).is_valid

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """Presentation contexts that it can travel in, the best first."""
        return self.travels_as(None)

    def travels_as(self, wanted: tuple[str, ...] | None) -> tuple[Proposal, ...]:
        """Return those of its presentation contexts whose transfer syntax is wanted, all of them for None.

        The first is how it lies on disk, where that is among them. Pixels are never compressed or decompressed.
        """
        syntaxes = TRAVELS_AS.get(self.transfer_syntax_uid, (self.transfer_syntax_uid,))
        return tuple(Proposal(self.sop_class_uid, syntax) for syntax in syntaxes if wanted is None or syntax in wanted)


def read_outgoing(path: Path) -> Outgoing | None:
    """Read what is needed to send a file; None where it is no DICOM file, or a DICOMDIR.

    The UIDs are those of the data set: whoever anonymised a file may have left others in its file meta information
    (PS3.10 7.1). A file without preamble or file meta information is read too. UndecodableObject where a UID is none;
    one with leading zeros, which the listener takes, passes.
    """
    keep_identifiers_out_of_logs()
    head = read_head(path)
    if head is not None and head.sop_class_uid and head.sop_instance_uid:
        _require_uids(head.sop_class_uid, head.sop_instance_uid)
        at = head.data_set_at if head.is_consistent else None
        return Outgoing(path, head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid, at)
    if not _begins_like_dicom(path):
        return None
    try:
        header = pydicom.dcmread(
            path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True, force=True
        )
        uids = (str(header.get("SOPClassUID") or ""), str(header.get("SOPInstanceUID") or ""))
        if not all(uids):
            return None
        _require_uids(*uids)
        return Outgoing(path, *uids, _encoding(header))
    except FAULTS:
        # Read with force, any file reaches the parser; all that it raises means that this one is no DICOM file.
        return None
    except OSError as error:
        if error.errno is not None:
            raise
        return None  # not the disk's: the parser's own, for a sequence that is cut off


def _require_uids(sop_class_uid: str, sop_instance_uid: str) -> None:
    for name, uid in (("SOP Class UID", sop_class_uid), ("SOP Instance UID", sop_instance_uid)):
        if not is_uid(uid):
            raise UndecodableObject(f"the {name} is no UID, which is 1 to 64 digits and dots (PS3.5 9.1)")


def data_set_offset(outgoing: Outgoing) -> int | None:
    """Return where in a file its data set begins, if it can travel as it lies; None where it must be encoded anew.

    It can where the file meta information is that of the data set, whose length is even: peers refuse a request that
    names other UIDs than the data set, and abort over an odd length (PS3.5 7.1.1). OSError.
    """
    if outgoing.data_set_at is not None:
        return outgoing.data_set_at
    head = read_head(outgoing.path)
    if head is not None:
        says = (head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid)
        asked = (outgoing.sop_class_uid, outgoing.sop_instance_uid, outgoing.transfer_syntax_uid)
        return head.data_set_at if head.is_consistent and says == asked else None
    try:
        meta, offset = split_dataset(outgoing.path)
    except InvalidDicomError:
        return None
    said = (meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID"), meta.get("TransferSyntaxUID"))
    if said != (outgoing.sop_class_uid, outgoing.sop_instance_uid, outgoing.transfer_syntax_uid):
        return None
    return offset if (outgoing.path.stat().st_size - offset) % 2 == 0 else None


def encoded(outgoing: Outgoing, transfer_syntax_uid: str) -> bytes:
    """Read a file whole and encode its data set anew, in a transfer syntax that it travels in.

    UndecodableObject where that cannot be done; OSError.
    """
    try:
        dataset = pydicom.dcmread(outgoing.path, force=True)
        syntax = UID(transfer_syntax_uid)
        content = encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian)
    except FAULTS as error:
        raise UndecodableObject(f"the object cannot be read or encoded: {type(error).__name__}") from error
    if content is None:
        raise UndecodableObject("the object cannot be encoded")
    return content + bytes(len(content) % 2)


def _begins_like_dicom(path: Path) -> bool:
    """Say whether a file has the prefix of PS3.10 7.1, or begins with an attribute of group 0002 or 0008."""
    with path.open("rb") as file:
        begin = file.read(132)
    return begin[128:] == b"DICM" or begin[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08")


def _encoding(header: pydicom.FileDataset) -> str:
    """Return the transfer syntax of the file meta information; without one, what the bytes of the data set say."""
    named = header.file_meta.get("TransferSyntaxUID")
    if named:
        return str(named)
    if header.original_encoding[0]:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if header.original_encoding[1] else ExplicitVRBigEndian)
