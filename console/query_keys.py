"""The parameters of a search in a DICOMweb address: keys by keyword or tag, and what to answer (PS3.18 8.3.4)."""

from __future__ import annotations

import http
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from console.request_errors import RequestInvalid
from storage.attributes import Attributes, Element, element

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_INCLUDE, _ALL, _FUZZY, _LIMIT, _OFFSET = "includefield", "all", "fuzzymatching", "limit", "offset"
_LONGEST_NUMBER = 8


@dataclass(frozen=True, slots=True)
class Parameters:
    """What an address asks for; ``limit`` is None where it does not say, ``is_fuzzy`` wants names that sound alike."""

    keys: Attributes
    limit: int | None
    offset: int
    included: frozenset[str]
    includes_all: bool
    is_fuzzy: bool


def parameters_of(given: Iterable[tuple[str, str]], *, others: frozenset[str] = frozenset()) -> Parameters:
    """Return what the parameters of a search say; RequestInvalid where one is none. Its values are in no message.

    ``others`` are names of parameters that are no matter of the search.
    """
    keys, included, includes_all, is_fuzzy = Attributes({}), set[str](), False, False
    numbers: dict[str, int] = {}
    for name, value in given:
        if name == _INCLUDE:
            includes_all = includes_all or value == _ALL
            included.update(_tag(part)[0] for part in value.split(",") if part and part != _ALL)
        elif name in (_LIMIT, _OFFSET):
            numbers[name] = _number(name, value)
        elif name == _FUZZY:
            is_fuzzy = value.lower() == "true"
        elif name not in others:
            keys = _with_key(keys, name.split("."), value)
    return Parameters(keys, numbers.get(_LIMIT), numbers.get(_OFFSET, 0), frozenset(included), includes_all, is_fuzzy)


def page_of(given: Parameters, *, default: int, most: int) -> Mapping[str, int]:
    """Return limit and offset as a search takes them."""
    return {"limit": min(default if given.limit is None else given.limit, most), "offset": given.offset}


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
        raise _invalid("a parameter is no attribute: give its keyword or its tag, such as PatientID or 00100020")
    try:
        return f"{number:08X}", dictionary_VR(number).partition(" ")[0]
    except KeyError:
        return f"{number:08X}", "UN"


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > _LONGEST_NUMBER:
        raise _invalid(f"{name} is no number from 0 on")
    return int(value)


def _invalid(message: str) -> RequestInvalid:
    return RequestInvalid(message, status=http.HTTPStatus.BAD_REQUEST)
