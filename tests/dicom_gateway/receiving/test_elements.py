from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_gateway.errors import DataSetTooComplex, UndecodableObject
from dicom_gateway.receiving.elements import ElementWalks, read_elements
from dicom_gateway.receiving.store_request import SOP_INSTANCE, WANTED
from tests.support.senders import ct_image, data_set_bytes

_SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def _encoded(dataset: Dataset, syntax: pydicom.uid.UID) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def _nested(*, undefined: bool) -> Dataset:
    image = ct_image()
    for decoy in range(3):
        inner, outer = Dataset(), Dataset()
        inner.SOPInstanceUID = f"1.2.{decoy}"
        inner.PatientID = "DECOY"
        outer.ReferencedSeriesSequence = Sequence([inner])
        outer["ReferencedSeriesSequence"].is_undefined_length = undefined
        outer.is_undefined_length_sequence_item = undefined
        image.ReferencedStudySequence = Sequence([outer, outer])
        image["ReferencedStudySequence"].is_undefined_length = undefined
    return image


@pytest.mark.parametrize("syntax", _SYNTAXES)
@pytest.mark.parametrize("undefined", [False, True])
def test_only_the_top_level_is_read_whatever_sequences_hold(syntax: pydicom.uid.UID, undefined: bool) -> None:
    image = _nested(undefined=undefined)
    found = read_elements(_encoded(image, syntax), syntax, WANTED)
    assert found[SOP_INSTANCE].rstrip(b"\0").decode() == image.SOPInstanceUID
    assert found[0x00100020].strip() == b"PATIENT-17"


def test_a_private_sequence_of_unknown_vr_is_walked_as_implicit() -> None:
    inner = struct.pack("<HHL", 0x0010, 0x0020, 4) + b"DECO"
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    private = (
        struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + item + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    )
    content = private + struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 4) + b"REAL"
    assert read_elements(content, ExplicitVRLittleEndian, WANTED) == {0x00100020: b"REAL"}


@pytest.mark.parametrize("cut", [1, 7, 50, 300])
def test_a_data_set_that_is_cut_off_is_refused(cut: int) -> None:
    content = _encoded(ct_image(), ExplicitVRLittleEndian)
    with pytest.raises(UndecodableObject):
        read_elements(content[:-cut], ExplicitVRLittleEndian, WANTED)


def test_padding_behind_the_pixel_data_is_let_pass() -> None:
    content = _encoded(ct_image(), ExplicitVRLittleEndian) + bytes(3)
    assert SOP_INSTANCE in read_elements(content, ExplicitVRLittleEndian, WANTED)


def test_an_identifier_that_comes_twice_is_refused() -> None:
    twice = struct.pack("<HHL", 0x0010, 0x0020, 2) + b"AB"
    with pytest.raises(UndecodableObject, match="twice"):
        read_elements(twice * 2, ImplicitVRLittleEndian, WANTED)


def test_sequences_nested_without_end_are_refused() -> None:
    with pytest.raises(DataSetTooComplex, match="deep"):
        read_elements(struct.pack("<HHL", 0x0008, 0x1115, 0xFFFFFFFF) * 10_000, ImplicitVRLittleEndian, WANTED)


def test_a_data_set_of_millions_of_elements_is_refused_as_too_complex() -> None:
    element = struct.pack("<HHL", 0x0009, 0x1001, 0)
    with pytest.raises(DataSetTooComplex, match="more than"):
        ElementWalks().read(element * 2_100_000, ImplicitVRLittleEndian, WANTED)


def test_a_long_walk_reads_what_a_short_one_does() -> None:
    element = struct.pack("<HHL", 0x0009, 0x1001, 0)
    content = element * 100_000 + struct.pack("<HHL", 0x0010, 0x0020, 4) + b"REAL"
    assert ElementWalks().read(content, ImplicitVRLittleEndian, WANTED) == {0x00100020: b"REAL"}


@given(st.binary(max_size=400), st.sampled_from(_SYNTAXES))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused_with_a_code(content: bytes, syntax: str) -> None:
    try:
        read_elements(content, syntax, WANTED)
    except UndecodableObject as error:
        assert error.code == "undecodable_object"  # noqa: PT017 - both endings are right, but no other


@pytest.mark.slow
def test_the_real_files_read_as_pydicom_reads_them(real_data: Path) -> None:
    compared = 0
    for path in sorted((real_data / "dicom").rglob("*.dcm")):
        content = path.read_bytes()
        meta = pydicom.dcmread(BytesIO(content), stop_before_pixels=True).file_meta
        if meta.TransferSyntaxUID == pydicom.uid.DeflatedExplicitVRLittleEndian:
            continue
        reference = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
        found = read_elements(data_set_bytes(content), meta.TransferSyntaxUID, WANTED)
        for keyword, tag in (
            ("SOPInstanceUID", SOP_INSTANCE),
            ("StudyInstanceUID", 0x0020000D),
            ("Modality", 0x00080060),
        ):
            assert found[tag].rstrip(b" \0").decode() == str(reference[keyword].value).rstrip()
        compared += 1
    assert compared > 200
