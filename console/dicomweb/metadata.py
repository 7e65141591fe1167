"""What a file says beside its pixels, in the DICOM JSON model, large values by where to fetch them (PS3.18 F)."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from console.dicomweb.pixel_places import PixelElement, pixel_element
from console.dicomweb.reading_faults import reading
from dicom_gateway.errors import UndecodableObject
from dicom_gateway.pydicom_faults import IN_MEMORY
from dicom_gateway.usable_text import with_usable_text

LARGE_BYTES = 1024
"""Binary values of more bytes are not in the metadata."""
_DEFERRED_BYTES = 64 << 10
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_CHARACTER_SET, _INSTANCE = 0x00080005, 0x00080018
_UTF_8 = "ISO_IR 192"

Json = dict[str, Any]


def metadata(path: Path, *, name: str, bulk: str) -> bytes:
    """Return the attributes of a file as a JSON object; ``bulk`` is what the address of each large value begins with.

    Private attributes are there, too: viewers compute with some. An attribute whose value is none of its VR is left
    out. UndecodableObject, with the file's ``name``, where it is no data set.
    """
    with path.open("rb") as file, reading(name):
        header = dcmread(file, stop_before_pixels=True, defer_size=_DEFERRED_BYTES)
        pixels = pixel_element(file, header)
        found = _attributes(with_usable_text(header), bulk)
    if _key(_INSTANCE) not in found:
        raise UndecodableObject(f"object {name} ends before it says which instance it is")
    if _key(_CHARACTER_SET) in found:
        found[_key(_CHARACTER_SET)] = {"vr": "CS", "Value": [_UTF_8]}
    if pixels is not None:
        found[_key(pixels.tag)] = {"vr": pixels.vr, "BulkDataURI": f"{bulk}/{_key(pixels.tag)}"}
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def large_value(path: Path, place: str, *, name: str) -> bytes | PixelElement | None:
    """Return the value at a place that ``metadata`` named: bytes, or where the pixel data lie; None without one.

    A place is a tag, or the way to one: ``TAG/ITEM/TAG``, items counted from 1.
    """
    with path.open("rb") as file, reading(name):
        header = dcmread(file, stop_before_pixels=True)
        pixels = pixel_element(file, header)
        if pixels is not None and place == _key(pixels.tag):
            return pixels
        return _value_at(header, place.split("/"))


def _value_at(dataset: Dataset, way: list[str]) -> bytes | None:
    for tag, number in zip(way[:-1:2], way[1:-1:2], strict=True):
        items = dataset.get(int(tag, 16))
        if items is None or not isinstance(items.value, Sequence) or not 0 < int(number) <= len(items.value):
            return None
        dataset = items.value[int(number) - 1]
    found = dataset.get(int(way[-1], 16))
    if found is None:
        return None
    return found.value if isinstance(found.value, bytes) else str(found.value).encode()


def _attributes(dataset: Dataset, bulk: str) -> Json:
    return dict(_elements(dataset, bulk))


def _elements(dataset: Dataset, bulk: str) -> Iterator[tuple[str, Json]]:
    for tag in sorted(dataset.keys()):
        place = f"{bulk}/{_key(tag)}"
        try:
            raw = dataset.get_item(tag)
            if isinstance(raw, RawDataElement) and raw.value is None and raw.length:
                yield _key(tag), {"vr": raw.VR or _known_vr(tag), "BulkDataURI": place}
            else:
                yield _key(tag), _element(dataset[tag], place)
        except IN_MEMORY:
            continue  # a value that is none of its VR says nothing; the others do


def _element(element: DataElement, place: str) -> Json:
    if element.VR == "SQ":
        items = [_attributes(item, f"{place}/{number}") for number, item in enumerate(element.value or (), start=1)]
        return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
    if element.VR in _BINARY and isinstance(element.value, bytes):
        return _binary(str(element.VR), element.value, place)
    found: Json = element.to_json_dict(None, 1 << 30)
    values = found.get("Value")
    if values and any(isinstance(value, float) and not math.isfinite(value) for value in values):
        found["Value"] = [_spelled(value) for value in values]
    return found


def _binary(vr: str, value: bytes, place: str) -> Json:
    if len(value) > LARGE_BYTES:
        return {"vr": vr, "BulkDataURI": place}
    return {"vr": vr, "InlineBinary": base64.b64encode(value).decode()} if value else {"vr": vr}


def _spelled(value: float) -> float | str:
    """Return what is no number as JSON can say it (PS3.18, Table F.2.3-1)."""
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def _known_vr(tag: int) -> str:
    try:
        return dictionary_VR(tag).partition(" ")[0]
    except KeyError:
        return "UN"


def _key(tag: int) -> str:
    return f"{tag:08X}"
