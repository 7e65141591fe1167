"""A file that is to be sent: what its data set says of it, and whether its bytes can travel as they lie on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom.dsutils import split_dataset

from dicom_gateway.privacy import keep_identifiers_out_of_logs
from dicom_gateway.sending.associations import Proposal

# Every peer takes Implicit VR (PS3.5 10.1). Deflated is unpacked: few peers take it, and it may not end even.
TRAVELS_AS: Mapping[str, tuple[str, ...]] = {
    ImplicitVRLittleEndian: (ImplicitVRLittleEndian,),
    ExplicitVRLittleEndian: (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    DeflatedExplicitVRLittleEndian: (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One file to send, and what its data set says of it; ``transfer_syntax_uid`` is how it is encoded on disk."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """Presentation contexts that it can travel in, the best first."""
        syntaxes = TRAVELS_AS.get(self.transfer_syntax_uid, (self.transfer_syntax_uid,))
        return tuple(Proposal(self.sop_class_uid, syntax) for syntax in syntaxes)


def read_outgoing(path: Path) -> Outgoing | None:
    """Read what is needed to send a file; None where it is no DICOM file, or a DICOMDIR.

    The UIDs are those of the data set: whoever anonymised a file may have left others in its file meta information
    (PS3.10 7.1). A file without preamble or file meta information is read too.
    """
    keep_identifiers_out_of_logs()
    if not _begins_like_dicom(path):
        return None
    try:
        header = pydicom.dcmread(
            path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True, force=True
        )
        uids = (UID(str(header.get("SOPClassUID", ""))), UID(str(header.get("SOPInstanceUID", ""))))
        if not all(uid.is_valid for uid in uids):
            return None
        return Outgoing(path, uids[0], uids[1], _encoding(header))
    except (InvalidDicomError, EOFError, ValueError, KeyError, AttributeError, NotImplementedError, TypeError):
        # Read with force, any file reaches the parser; all that it raises means that this one is no DICOM file.
        return None


def travels_as_it_lies(outgoing: Outgoing) -> bool:
    """Say whether a file can be streamed: its file meta information is that of its data set, whose length is even.

    Peers refuse a request that names other UIDs than the data set, and abort over an odd length (PS3.5 7.1.1).
    """
    try:
        meta, offset = split_dataset(outgoing.path)
    except InvalidDicomError:
        return False
    said = (meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID"), meta.get("TransferSyntaxUID"))
    if said != (outgoing.sop_class_uid, outgoing.sop_instance_uid, outgoing.transfer_syntax_uid):
        return False
    return (outgoing.path.stat().st_size - offset) % 2 == 0


def decoded(outgoing: Outgoing) -> pydicom.Dataset:
    """Read a file whole, to be encoded anew in a transfer syntax that the peer took."""
    dataset = pydicom.dcmread(outgoing.path, force=True)
    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    syntax = UID(outgoing.transfer_syntax_uid)
    unpacked = syntax == DeflatedExplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if unpacked else syntax
    return dataset


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
