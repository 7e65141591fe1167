"""A patient's name as the report page shows it: each of its component groups, or what of it can be shown.

A name has up to three groups: alphabetic, ideographic and phonetic (PS3.5 6.2.1).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from dicom_gateway.objects.page_fonts import Language, is_shown

_UNREADABLE = "\ufffd"
_NAMED_BY_LETTERS = (
    ("HIRAGANA", Language.JAPANESE),
    ("KATAKANA", Language.JAPANESE),
    ("HANGUL", Language.KOREAN),
)
_NAMED_BY_CHARACTER_SET = (
    (("ISO 2022 IR 87", "ISO 2022 IR 159", "ISO 2022 IR 13", "ISO_IR 13"), Language.JAPANESE),
    (("ISO 2022 IR 149",), Language.KOREAN),
    (("ISO 2022 IR 58", "GB18030", "GBK"), Language.CHINESE),
)


@dataclass(frozen=True, slots=True)
class ShownName:
    """A name in one line, the same name in other scripts, and whether some of it cannot be shown."""

    first: str
    others: tuple[str, ...]
    is_whole: bool
    language: Language | None


def shown_name(source: Dataset) -> ShownName:
    """Return the patient's name of a header as the page can show it; ``first`` is empty where it has none to show."""
    name = PersonName(source.get("PatientName") or "")
    groups = [str(group) for group in (name.alphabetic, name.ideographic, name.phonetic)]
    language = language_of(groups, source.get("SpecificCharacterSet") or "")
    lines = [_line(group, spaced=place > 0) for place, group in enumerate(groups)]
    stated = list(dict.fromkeys(line for line in lines if line))
    shown = [line for line in stated if _UNREADABLE not in line and is_shown(line, language=language)]
    return ShownName(
        first=shown[0] if shown else "",
        others=tuple(shown[1:]),
        is_whole=len(shown) == len(stated),
        language=language,
    )


def language_of(texts: Iterable[str], character_set: str | Iterable[str]) -> Language | None:
    """Return whose Chinese characters those of some texts are, by letters beside them or by the character set."""
    for character in "".join(texts):
        script = unicodedata.name(character, "")
        for prefix, language in _NAMED_BY_LETTERS:
            if script.startswith(prefix):
                return language
    stated = {character_set} if isinstance(character_set, str) else set(character_set)
    return next((language for terms, language in _NAMED_BY_CHARACTER_SET if stated & set(terms)), None)


def _line(group: str, *, spaced: bool) -> str:
    """Return a group in reading order: «Family, Given Middle, Prefix, Suffix»; without commas in Asian scripts."""
    family, given, middle, prefix, suffix = ([part.strip() for part in group.split("^")] + [""] * 5)[:5]
    own = " ".join(part for part in (given, middle) if part)
    if spaced:
        return " ".join(part for part in (family, own, prefix, suffix) if part)
    return ", ".join(part for part in (family, own, prefix, suffix) if part)
