"""Data sets between the wire and the DICOM JSON model; small ones, and never pixels."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian

from dicom_gateway.errors import UndecodableObject
from dicom_gateway.pydicom_faults import IN_MEMORY
from dicom_gateway.receiving.elements import read_elements
from dicom_gateway.usable_text import with_usable_text
from storage.attributes import Attributes

_UTF_8 = "ISO_IR 192"
_CHARACTER_SET = "00080005"


def decode(content: bytes, transfer_syntax_uid: str) -> Attributes:
    """Return what a data set says; UndecodableObject where it is none, or a value is not one of its VR.

    It is seen to be whole, and not too deep, before anything is built of it. Private attributes are left out.
    """
    read_elements(content, transfer_syntax_uid, frozenset())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # departures from the standard are judged by value
        try:
            dataset = dcmread(BytesIO(_headed(content, transfer_syntax_uid)), force=True)
            return of_dataset(dataset)
        except IN_MEMORY as error:
            raise _undecodable() from error


def of_dataset(dataset: Dataset) -> Attributes:
    """Return a data set in the JSON model, its text in Unicode; errors as pydicom raises them."""
    dataset = with_usable_text(dataset)
    dataset.remove_private_tags()
    found: dict[str, Any] = dataset.to_json_dict(bulk_data_threshold=1 << 30)
    return Attributes(found).without([_CHARACTER_SET])


def encode(attributes: Attributes, transfer_syntax_uid: str) -> bytes:
    """Return a data set as it goes over the wire; text that is not ASCII is UTF-8, and the data set says so.

    UndecodableObject where a value is not one of its VR.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # departures from the standard are judged by value
        try:
            return _encoded(attributes, is_implicit=transfer_syntax_uid == ImplicitVRLittleEndian)
        except IN_MEMORY as error:
            raise _undecodable() from error


def _encoded(attributes: Attributes, *, is_implicit: bool) -> bytes:
    dataset = Dataset.from_json(attributes.without([_CHARACTER_SET]).text())
    if not attributes.text().isascii():
        dataset.SpecificCharacterSet = _UTF_8
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, is_implicit
    write_dataset(stream, dataset)
    return bytes(stream.getvalue())


def _headed(content: bytes, transfer_syntax_uid: str) -> bytes:
    """Return a data set behind a file's meta information, which says how it is encoded."""
    uid = transfer_syntax_uid.encode("ascii")
    value = uid + b"\0" * (len(uid) % 2)
    syntax = b"\x02\x00\x10\x00UI" + len(value).to_bytes(2, "little") + value
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(syntax).to_bytes(4, "little")
    return bytes(128) + b"DICM" + length + syntax + content


def _undecodable() -> UndecodableObject:
    return UndecodableObject("the data set has a value that is none of its VR")
