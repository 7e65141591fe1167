"""Segments of HL7 v2 from plain values: escaped, in the character set that the receiver reads.

A field is a text, a tuple of components, or a list of repetitions; a component may be a tuple of subcomponents (HL7
v2.5.1 chapter 2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import hl7

from dicom_gateway.announcing.readable_text import readable
from storage.domain import Code

Component = str | tuple[str, ...]
Repetition = str | tuple[Component, ...]
Field = Repetition | list[Repetition]

LONGEST_TEXT = 199
"""Characters of an ST in version 2.5.1 (2.A.74)."""
_CODECS = {"ASCII": "ascii", "UNICODE UTF-8": "utf-8"}
_ASCII = re.compile(r"[\x20-\x7e]+")
_ENCODING_CHARACTERS = "^~\\&"


def segment(name: str, fields: Mapping[int, Field]) -> hl7.Segment:
    """Return a segment with these fields, by their numbers in the standard; the others are empty."""
    last = max(fields, default=0)
    return hl7.Segment("|", [hl7.Field("~", [name]), *(_field(fields.get(at, "")) for at in range(1, last + 1))])


def header(fields: Mapping[int, Field]) -> hl7.Segment:
    """Return an MSH segment; its first two fields are the delimiters and stand fixed."""
    made = segment("MSH", fields)
    made[1], made[2] = hl7.Field("~", ["|"]), hl7.Field("~", [_ENCODING_CHARACTERS])
    return made


def message(segments: Sequence[hl7.Segment]) -> hl7.Message:
    """Return a message of segments."""
    return hl7.Message("\r", segments)


def encoded(whole: hl7.Message, character_set: str) -> bytes:
    """Return a message as bytes, with a question mark for each character that the set does not have."""
    return str(whole).encode(codec(character_set), "replace")


def codec(character_set: str) -> str:
    """Return Python's name of a character set of HL7 table 0211."""
    return _CODECS.get(character_set) or character_set.replace("8859/", "iso8859-")


def can_encode(text: str, character_set: str) -> bool:
    """Say whether a character set has all of a text."""
    try:
        text.encode(codec(character_set))
    except UnicodeEncodeError:
        return False
    return True


def coded(code: Code) -> tuple[Component, ...]:
    """Return a code as CE or CWE, which begin alike: identifier, text, name of the coding system."""
    return code.value, cut(code.meaning), code.scheme


def timestamp(at: datetime) -> str:
    """Return a point in time to the second, with its offset from UTC."""
    return at.strftime("%Y%m%d%H%M%S%z")


def cut(text: str) -> str:
    """Return as much of a text as a field takes, on one line."""
    return readable(text, LONGEST_TEXT)


def _field(value: Field) -> hl7.Field:
    return hl7.Field("~", [_repetition(one) for one in value] if isinstance(value, list) else [_repetition(value)])


def _repetition(value: Repetition) -> Any:
    if isinstance(value, str):
        return _escaped(value)
    return hl7.Repetition("^", _without_tail([_component(one) for one in value]))


def _component(value: Component) -> Any:
    if isinstance(value, str):
        return _escaped(value)
    return hl7.Component("&", _without_tail([_escaped(one) for one in value]))


def _without_tail(values: list[Any]) -> list[Any]:
    """Leave out empty values at the end, which say nothing."""
    while values and not str(values[-1]):
        values.pop()
    return values


def _escaped(text: str) -> str:
    """Escape the delimiters, in one line of text; letters beyond ASCII stay as they are."""
    whole = hl7.Message("\r")
    return _ASCII.sub(lambda run: str(whole.escape(run[0])), readable(text))
