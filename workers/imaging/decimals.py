"""Numbers in headers, read leniently where their meaning is certain: a comma for a point, text of another VR.

A value that cannot be read is absent; the image is not refused for it.
"""

from __future__ import annotations

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from storage.decimals import as_decimals

_TEXT_VRS = frozenset({"DS", "IS", "LO", "SH", "ST", "LT", "UT", "UC", "CS"})


def decimals(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return an element's values, or nothing where it is absent, empty, or any value is no finite number."""
    tag = Tag(keyword)
    if tag not in dataset:
        return ()
    raw = dataset.get_item(tag)
    # Implicit VR has none of its own; an explicit one that is text counts, whatever the dictionary says.
    vr = (raw.VR if isinstance(raw, RawDataElement) else None) or dictionary_VR(tag)
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and vr in _TEXT_VRS:
        return as_decimals(raw.value.decode("ascii", errors="replace").strip(" \0").split("\\"))
    value = dataset[tag].value
    if value is None or value == "":
        return ()
    if isinstance(value, (MultiValue, list, tuple)):
        return as_decimals(str(part) for part in value)
    return as_decimals(str(value).split("\\"))


def decimal(dataset: Dataset, keyword: str) -> float | None:
    """Return an element's one value, or None where it has none or several."""
    values = decimals(dataset, keyword)
    return values[0] if len(values) == 1 else None
