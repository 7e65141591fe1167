"""Data sets in the DICOM JSON model (PS3.18 Annex F), read and put together without pydicom."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from storage.errors import DataSetInvalid

Element = Mapping[str, Any]
"""One attribute of the JSON model: its ``vr``, and ``Value`` where it has one."""

_TAG = re.compile(r"[0-9A-F]{8}")
_VR = re.compile(r"[A-Z]{2}")
_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Attributes:
    """A data set, or an item of a sequence, by tag."""

    elements: Mapping[str, Element]

    @classmethod
    def parse(cls, text: str) -> Attributes:
        """Read what ``text`` wrote."""
        return cls(json.loads(text))

    @classmethod
    def of_json(cls, content: object) -> Attributes:
        """Return what a peer's JSON says; DataSetInvalid where it is not of the model."""
        _require_model(content, depth=0)
        assert isinstance(content, Mapping)  # noqa: S101 - required just now
        return cls(content)

    def text(self) -> str:
        """Return the data set as JSON text, by tag."""
        return json.dumps(self.elements, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    def __contains__(self, tag: str) -> bool:
        return tag in self.elements

    def __iter__(self) -> Iterator[str]:
        return iter(self.elements)

    def values(self, tag: str) -> tuple[Any, ...]:
        """Return the values of an attribute; empty where it is missing or has none."""
        found = self.elements.get(tag, {}).get("Value") or ()
        return tuple(value for value in found if value not in (None, ""))

    def value(self, tag: str) -> str:
        """Return the first value as text, of a person's name its alphabetic part; empty where there is none."""
        first = next(iter(self.values(tag)), "")
        if isinstance(first, Mapping):
            first = first.get("Alphabetic", "")
        return str(first).strip()

    def items(self, tag: str) -> tuple[Attributes, ...]:
        """Return the items of a sequence."""
        found = self.elements.get(tag, {}).get("Value") or ()
        return tuple(Attributes(item) for item in found if isinstance(item, Mapping))

    def changed(self, elements: Mapping[str, Element]) -> Attributes:
        """Return the data set with some attributes in the place of its own."""
        return Attributes({**self.elements, **elements})

    def without(self, tags: Iterable[str]) -> Attributes:
        """Return the data set without some attributes."""
        left_out = frozenset(tags)
        return Attributes({tag: element for tag, element in self.elements.items() if tag not in left_out})

    def only(self, tags: Iterable[str]) -> Attributes:
        """Return some attributes of the data set, those that it has."""
        wanted = frozenset(tags)
        return Attributes({tag: element for tag, element in self.elements.items() if tag in wanted})


def element(vr: str, *values: object) -> Element:
    """Return an attribute with values; without any it is empty."""
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def sequence(*items: Mapping[str, Element]) -> Element:
    """Return a sequence of items."""
    return element("SQ", *(dict(item) for item in items))


def date_time(moment: datetime) -> Element:
    """Return a moment (VR DT, PS3.5 6.2), in UTC, which it says."""
    return element("DT", f"{moment.astimezone(UTC):%Y%m%d%H%M%S}+0000")


def _require_model(content: object, *, depth: int) -> None:
    if depth > _DEEPEST:
        raise _invalid(f"sequences are nested deeper than {_DEEPEST} levels")
    if not isinstance(content, Mapping):
        raise _invalid("a data set of the DICOM JSON model is an object with a member for each tag")
    for tag, attribute in content.items():
        if not isinstance(tag, str) or _TAG.fullmatch(tag) is None:
            raise _invalid("a member is named by no tag: eight hexadecimal digits in capitals, such as 00741204")
        if not isinstance(attribute, Mapping) or _VR.fullmatch(str(attribute.get("vr", ""))) is None:
            raise _invalid(f"attribute {tag} has no vr of two capitals")
        values = attribute.get("Value", [])
        if not isinstance(values, list):
            raise _invalid(f"the Value of attribute {tag} is no array")
        if attribute["vr"] == "SQ":
            for item in values:
                _require_model(item, depth=depth + 1)
        else:
            _require_values(tag, str(attribute["vr"]), values)


def _require_values(tag: str, vr: str, values: list[Any]) -> None:
    for value in values:
        if vr == "PN" and isinstance(value, Mapping):
            fits = all(isinstance(part, str) for part in value.values())
        else:
            fits = value is None or isinstance(value, (str, int, float))
        if not fits:
            raise _invalid(f"a value of attribute {tag} is not one of vr {vr}")


def _invalid(message: str) -> DataSetInvalid:
    """Return the error for what is not of the model; its message holds no value, which may be a patient's."""
    return DataSetInvalid(message)
