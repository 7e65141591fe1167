"""The beginning of ordinary files is read as pydicom reads it; what is out of the ordinary is left to pydicom."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom.dsutils import split_dataset

from dicom_gateway.sending.file_head import read_head
from dicom_gateway.sending.outgoing import data_set_offset, read_outgoing
from tests.support.senders import ct_image


def written(path: Path, syntax: str = ExplicitVRLittleEndian, **values: object) -> Path:
    image = ct_image()
    for keyword, value in values.items():
        setattr(image, keyword, value)
    image.file_meta.TransferSyntaxUID = UID(syntax)
    pydicom.dcmwrite(
        path,
        image,
        enforce_file_format=True,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
    )
    return path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_an_ordinary_file_is_read_as_the_general_parser_reads_it(tmp_path: Path, syntax: str) -> None:
    path = written(tmp_path / "1.dcm", syntax, SpecificCharacterSet="ISO_IR 192", ImageType=["ORIGINAL", "PRIMARY"])
    head, (meta, offset) = read_head(path), split_dataset(path)
    assert head is not None
    assert head.data_set_at == offset
    assert head.is_consistent
    assert (head.sop_class_uid, head.sop_instance_uid) == (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    assert head.transfer_syntax_uid == syntax
    found = read_outgoing(path)
    assert found is not None
    assert data_set_offset(found) == offset


def test_a_file_whose_meta_information_names_another_instance_is_encoded_anew(tmp_path: Path) -> None:
    path = written(tmp_path / "1.dcm")
    file = pydicom.dcmread(path)
    file.SOPInstanceUID = "1.2.3.4.5"
    pydicom.dcmwrite(path, file)
    found = read_outgoing(path)
    assert found is not None
    assert (found.sop_instance_uid, data_set_offset(found)) == ("1.2.3.4.5", None)


@pytest.mark.parametrize(
    "content",
    [b"", b"DICM", bytes(128) + b"DICM", bytes(200), bytes(128) + b"DICM" + b"\x02\0\x02\0UI\xff\xff", b"%PDF-1.4"],
)
def test_what_is_no_such_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert read_head(path) is None


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_other_encodings_are_left_to_the_general_parser(tmp_path: Path, syntax: str) -> None:
    path = written(tmp_path / "1.dcm", syntax)
    assert read_head(path) is None
    found = read_outgoing(path)
    assert found is not None
    assert found.transfer_syntax_uid == syntax


def test_a_file_cut_off_anywhere_in_its_head_is_none(tmp_path: Path) -> None:
    whole = written(tmp_path / "1.dcm").read_bytes()
    head = read_head(tmp_path / "1.dcm")
    assert head is not None
    for length in range(head.data_set_at + 60):
        path = tmp_path / "cut"
        path.write_bytes(whole[:length])
        assert read_head(path) is None, length
