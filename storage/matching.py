"""Attributes held against keys: single values, lists, wildcards, ranges, sequences (PS3.4 C.2.2.2)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

from storage.attributes import Attributes
from storage.errors import QuestionInvalid

CHARACTER_SET = "00080005"
RANGES = frozenset({"DA", "DT", "TM"})
"""Value representations that may be asked for by a range (PS3.4 C.2.2.2.5)."""
_EXACT = frozenset({"UI", "DA", "DT", "TM", "SL", "SS", "UL", "US", "FL", "FD", "AT"})
_RANGE = re.compile(r"([0-9.]*(?:[+-]\d{4})?)-([0-9.]*(?:[+-]\d{4})?)|([0-9.]+(?:[+-]\d{4})?)")
_SEPARATORS = re.compile(r"[\s^,]+")
_VOICED = frozenset("\u3099\u309a")
"""Marks that make another kana of one; without them two names would be the same."""
_LETTERS = str.maketrans({"ø": "o", "đ": "d", "ð": "d", "ł": "l", "æ": "ae", "œ": "oe", "þ": "th", "\u0131": "i"})


def matches(found: Attributes, keys: Attributes, *, decided: AbstractSet[str] = frozenset()) -> bool:
    """Say whether a data set matches every key but those that are ``decided`` already.

    QuestionInvalid where a range is none.
    """
    return all(_matches(found, tag, keys) for tag in keys if tag != CHARACTER_SET and tag not in decided)


def bounds(text: str) -> tuple[str, str]:
    """Return both ends of a range, or a single value twice; the dash of an offset is none of a range.

    QuestionInvalid for anything else.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise QuestionInvalid("a date or time is a value, such as 20260131, or a range: FROM-UNTIL, FROM- or -UNTIL")
    first, last, single = found.groups()
    return (single, single) if single else (first or "", last or "")


def is_pattern(text: str) -> bool:
    """Say whether a text holds wildcards."""
    return "*" in text or "?" in text


def folded(name: str) -> str:
    """Return a component group of a person's name as it is compared: without case, accents and separators.

    Wildcards stay (PS3.4 C.2.2.2.1 leaves case and accents of names to us).
    """
    parts = unicodedata.normalize("NFKD", name).casefold()
    plain = "".join(part for part in parts if part in _VOICED or unicodedata.category(part) != "Mn")
    return unicodedata.normalize("NFC", _SEPARATORS.sub(" ", plain.translate(_LETTERS))).strip()


def _matches(found: Attributes, tag: str, keys: Attributes) -> bool:
    vr = str(keys.elements[tag]["vr"])
    if vr == "SQ":
        wanted = keys.items(tag)
        return not wanted or not wanted[0].elements or _matches_an_item(found.items(tag), wanted[0])
    wanted_values = keys.values(tag)
    if not wanted_values:
        return True
    held = [_text(value) for value in found.values(tag)]
    return any(_fits(value, _text(wanted), vr) for wanted in wanted_values for value in held)


def _matches_an_item(items: Sequence[Attributes], wanted: Attributes) -> bool:
    if all(not wanted.values(tag) for tag in wanted):
        return True
    return any(matches(item, wanted) for item in items)


def _fits(value: str, wanted: str, vr: str) -> bool:
    if vr in RANGES and "-" in wanted:
        earliest, latest = bounds(wanted)
        return (not earliest or value[: len(earliest)] >= earliest) and (not latest or value[: len(latest)] <= latest)
    if vr in _EXACT or not is_pattern(wanted):
        return value.casefold() == wanted.casefold() if vr == "PN" else value == wanted
    return _pattern(wanted, folds=vr == "PN").fullmatch(value) is not None


@lru_cache(maxsize=256)
def _pattern(text: str, *, folds: bool) -> re.Pattern[str]:
    # Stars side by side match what one does, and would only cost time.
    parts = (
        ".*" if part.startswith("*") else "." if part == "?" else re.escape(part)
        for part in re.split(r"(\*+|\?)", text)
    )
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if folds else 0))


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("Alphabetic", "")
    return str(value).strip()
