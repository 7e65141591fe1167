"""What was encoded, read again and compared with what was meant: the last look at an object before it may leave."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from itertools import zip_longest

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects.sources import TEXT_VRS

_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_SAME = 1e-6
"""Numbers may differ by the rounding of VR FL and of decimal strings."""


def read_back(content: bytes, meant: Dataset) -> Dataset:
    """Read an encoded object and return it; ObjectInvalid where it does not say what was meant.

    Compared are all elements but text beyond ASCII, whose bytes are those of the source or of the style's set.
    """
    try:
        found = pydicom.dcmread(io.BytesIO(content))
        differs = _difference(meant, found)
    except (InvalidDicomError, EOFError, ValueError, KeyError, AttributeError, struct.error) as error:
        raise ObjectInvalid(f"the encoded object cannot be read again: {type(error).__name__}") from error
    if differs:
        raise ObjectInvalid(f"the encoded object says something else than was meant: {differs}")
    if found.file_meta.MediaStorageSOPInstanceUID != found.SOPInstanceUID:
        raise ObjectInvalid("the file's header names another instance than its data set")
    if found.file_meta.MediaStorageSOPClassUID != found.SOPClassUID:
        raise ObjectInvalid("the file's header names another SOP class than its data set")
    return found


def _difference(meant: Dataset, found: Dataset) -> str:
    """Return the name of the first element that differs, or an empty text."""
    for tag in sorted(meant.keys() | found.keys()):
        if tag not in meant or tag not in found:
            return keyword_for_tag(tag) or str(tag)
        if inner := _element_difference(meant[tag], found[tag]):
            return inner
    return ""


def _element_difference(meant: DataElement, found: DataElement) -> str:
    if meant.VR == "SQ":
        pairs = zip_longest(meant.value, found.value)
        inner = (_difference(one, two) if one is not None and two is not None else "items" for one, two in pairs)
        return next((f"{meant.keyword}: {name}" for name in inner if name), "")
    same = _same_bytes(meant, found) if meant.VR in _BINARY or found.VR in _BINARY else _same_values(meant, found)
    return "" if same else str(meant.keyword or meant.tag)


def _same_bytes(meant: DataElement, found: DataElement) -> bool:
    one, two = bytes(meant.value or b""), bytes(found.value or b"")
    return two[: len(one)] == one and two[len(one) :] in (b"", b"\0")


def _same_values(meant: DataElement, found: DataElement) -> bool:
    ours, theirs = _values(meant), _values(found)
    if meant.VR in TEXT_VRS and not all(str(value).isascii() for value in (*ours, *theirs)):
        return True
    return len(ours) == len(theirs) and all(_same_value(one, two) for one, two in zip(ours, theirs, strict=True))


def _same_value(one: object, two: object) -> bool:
    if isinstance(one, int | float) and isinstance(two, int | float):
        return abs(one - two) <= _SAME * max(1.0, abs(one))
    return str(one).strip(" \0") == str(two).strip(" \0")


def _values(element: DataElement) -> Sequence[object]:
    value = element.value
    if value is None or (isinstance(value, str | bytes | PersonName) and not value):
        return ()
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]
