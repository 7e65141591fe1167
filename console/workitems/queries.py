"""The parameters of a search for workitems (PS3.18 8.3.4, 11.9)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from console.request_errors import RequestInvalid
from storage.attributes import Attributes, Element, element

LIMIT = 100
MOST = 1000
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_INCLUDE, _FUZZY, _LIMIT, _OFFSET = "includefield", "fuzzymatching", "limit", "offset"


@dataclass(frozen=True, slots=True)
class WorkitemQuery:
    """What is searched for, which page of it, and the attributes that are asked for beside those of every answer."""

    keys: Attributes
    limit: int
    offset: int
    included: frozenset[str]


def query_of(parameters: Iterable[tuple[str, str]]) -> WorkitemQuery:
    """Return what the parameters of a search say; RequestInvalid where one is none. Its values are in no message."""
    keys, included = Attributes({}), set[str]()
    numbers = {_LIMIT: LIMIT, _OFFSET: 0}
    for name, value in parameters:
        if name == _INCLUDE:
            included.update(_tag(part)[0] for part in value.split(",") if part != "all")
        elif name in numbers:
            numbers[name] = _number(name, value)
        elif name != _FUZZY:  # names are matched literally, which a service may do (8.3.4.2)
            keys = _with_key(keys, name.split("."), value)
    return WorkitemQuery(keys, min(numbers[_LIMIT], MOST), numbers[_OFFSET], frozenset(included))


def _with_key(keys: Attributes, path: list[str], value: str) -> Attributes:
    """Return keys with one more; dots lead into the items of sequences."""
    tag, vr = _tag(path[0])
    if len(path) == 1:
        return keys.changed({tag: _element(vr, value)})
    item = next(iter(keys.items(tag)), Attributes({}))
    inner = _with_key(item, path[1:], value)
    return keys.changed({tag: {"vr": "SQ", "Value": [dict(inner.elements)]}})


def _element(vr: str, value: str) -> Element:
    if not value:
        return element(vr)
    values = re.split(r"[,\\]", value) if vr == "UI" else [value]
    return element(vr, *({"Alphabetic": one} if vr == "PN" else one for one in values))


def _tag(name: str) -> tuple[str, str]:
    """Return tag and VR of an attribute that is named by its keyword or its tag."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    number = int(name, 16) if _TAG.fullmatch(name) else tag_for_keyword(name)
    if number is None:
        raise RequestInvalid("a parameter is no attribute: give its keyword or its tag, such as PatientID or 00100020")
    try:
        return f"{number:08X}", dictionary_VR(number).partition(" ")[0]
    except KeyError:
        return f"{number:08X}", "UN"


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > len(str(10 * MOST**2)):
        raise RequestInvalid(f"{name} is no number")
    return int(value)
