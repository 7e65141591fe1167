"""Objects that come as metadata in the DICOM JSON model, with bulk data beside it (PS3.18 8.7.3, 10.5, F.2.6)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_gateway.errors import UndecodableObject, UnsupportedTransferSyntax
from dicom_gateway.pydicom_faults import IN_MEMORY
from storage.attributes import Attributes

_SYNTAX = "00020010"
_META_GROUP = "0002"
_CHARACTER_SET = "00080005"
_UTF_8 = "ISO_IR 192"
_UNCOMPRESSED = frozenset({"", ExplicitVRLittleEndian, ImplicitVRLittleEndian})


def data_sets_of(metadata: bytes) -> list[Attributes]:
    """Return the data sets of a metadata part, an array or one alone; DataSetInvalid, UndecodableObject."""
    try:
        content = json.loads(metadata)
    except (ValueError, RecursionError):
        raise UndecodableObject("the metadata is no JSON") from None
    return [Attributes.of_json(one) for one in (content if isinstance(content, list) else [content])]


def file_of(data_set: Attributes, bulk: Mapping[str, bytes]) -> bytes:
    """Return a data set as a DICOM file in Explicit VR Little Endian; ``bulk`` holds bulk data by its URI.

    UndecodableObject where a value is not one of its VR, or bulk data is not there; UnsupportedTransferSyntax where it
    says that its pixels are compressed: those travel as application/dicom.
    """
    if data_set.value(_SYNTAX) not in _UNCOMPRESSED:
        raise UnsupportedTransferSyntax("metadata with bulk data is taken uncompressed alone; send application/dicom")
    content = {tag: value for tag, value in data_set.elements.items() if not tag.startswith(_META_GROUP)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # departures from the standard are kept as they come
        try:
            return _encoded(content, bulk)
        except IN_MEMORY as error:
            raise UndecodableObject("the metadata has a value that is none of its VR") from error


def _encoded(content: Mapping[str, Any], bulk: Mapping[str, bytes]) -> bytes:
    dataset = Dataset.from_json(dict(content), lambda _tag, _vr, uri: _bulk(bulk, uri))
    # JSON is Unicode, whatever the data set was written in before.
    if not json.dumps(content, ensure_ascii=False).isascii():
        dataset.SpecificCharacterSet = _UTF_8
    elif _CHARACTER_SET in content:
        del dataset.SpecificCharacterSet
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(str(dataset.get("SOPClassUID", "")))
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(str(dataset.get("SOPInstanceUID", "")))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = DicomBytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return bytes(buffer.getvalue())


def _bulk(bulk: Mapping[str, bytes], uri: str) -> bytes:
    if uri not in bulk:
        raise UndecodableObject("the metadata refers to bulk data that no part of the request holds")
    return bulk[uri]
