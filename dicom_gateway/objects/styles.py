"""How a destination wants its objects numbered, named and encoded: each such style gives objects of its own.

One UID always names the same bytes: an object that is written in two styles is two objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from dicom_gateway.errors import StyleInvalid
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.plain_text import plain
from dicom_gateway.objects.sources import TEXT_VRS
from storage.domain import Priority

_MOST_SERIES_NUMBER = 2_147_483_647 - 100  # IS holds 32 bits with a sign (PS3.5 6.2), and series count on from the base
_DESCRIPTION_CHARACTERS = 64
LONGEST_BESIDE_PRIORITY = _DESCRIPTION_CHARACTERS - max(len(f"{priority}: ") for priority in Priority)
"""How many characters a series description may have with a priority before it."""
_LOST = "\ufffd"
_EXTENSION = "ISO 2022 IR "
DEFINED_TERMS = frozenset(
    term for term in python_encoding if term.startswith(("ISO_IR ", _EXTENSION)) or term in ("GB18030", "GBK")
)
"""The values of Specific Character Set that a style may name."""


@dataclass(frozen=True, slots=True)
class ObjectStyle:
    """The style of the objects of a destination; None leaves what every other destination gets.

    ``series_number_base`` is added to 1 for SEG, 2 for SR, 3 for PM, 5 for LABELMAP, 6 for SC, 7 for GSPS, 8 for KO,
    9 for PDF and 10 for notices; without it the base is 99000. ``character_set`` is a defined term of Specific
    Character Set, or several with backslashes (PS3.3 C.12.1.1.2): text is written in it where it holds all of an
    object's text. One that ``shows_priority`` has it in front of every series description, and in the key object.
    Raises StyleInvalid where a value cannot stand in a DICOM object.
    """

    series_number_base: int | None = None
    series_description: str | None = None
    character_set: str | None = None
    shows_priority: bool = False

    def __post_init__(self) -> None:
        """Check each value that is given."""
        base, description = self.series_number_base, self.series_description
        if base is not None and not 0 <= base <= _MOST_SERIES_NUMBER:
            raise StyleInvalid(f"the base of series numbers must lie in 0 to {_MOST_SERIES_NUMBER}")
        if description is not None and not _is_long_string(description):
            raise StyleInvalid("a series description has 1 to 64 printable characters, none of them a backslash")
        if self.shows_priority and len(description or "") > LONGEST_BESIDE_PRIORITY:
            raise StyleInvalid(
                f"with the priority before it a series description has at most {LONGEST_BESIDE_PRIORITY} characters"
            )
        if self.character_set is not None:
            _require_defined_terms(self.character_set.split("\\"))

    @property
    def identity_parts(self) -> tuple[str, ...]:
        """What the style adds to the identity of an object: nothing where it is the default."""
        if self == DEFAULT_STYLE:
            return ()
        values = (self.series_number_base, self.series_description, self.character_set)
        shown = ("shows-priority",) if self.shows_priority else ()
        return ("style", *("" if value is None else f"={value}" for value in values), *shown)

    def applied_to(self, equipment: Equipment, priority: Priority | None = None) -> Equipment:
        """Return the equipment with the series numbers and the series description of this style.

        ``priority`` is that of the result, for styles that show it.
        """
        if self.series_description is not None:
            equipment = replace(equipment, series_description=self.series_description)
        if self.shows_priority and priority is not None:
            described = f"{priority}: {equipment.series_description}"
            equipment = replace(equipment, series_description=described[:_DESCRIPTION_CHARACTERS].strip())
        if self.series_number_base is None:
            return equipment
        return equipment.numbered_from(self.series_number_base)


DEFAULT_STYLE = ObjectStyle()


def encode_text(dataset: Dataset, style: ObjectStyle) -> bool:
    """Have a finished object's text written in the style's character set, and say whether it will be.

    An object keeps the set of its source where the style names none, where its text could not all be read, or where
    the set does not hold all of it: a patient whose name has changed is another one to an archive. The series
    description is no reason to, since it can be reduced (``fit_description``).
    """
    if style.character_set is None:
        return False
    terms = style.character_set.split("\\")
    # Each text is read in the set that it came in before another one is named.
    if not all(_holds(terms, text) for text in list(_texts(dataset))):
        return False
    dataset.SpecificCharacterSet = terms if len(terms) > 1 else terms[0]
    for element in dataset.iterall():
        if element.VR == "SQ":
            for item in element.value:
                item.pop("SpecificCharacterSet", None)
    return True


def fit_description(dataset: Dataset) -> None:
    """Reduce the series description to ASCII where the object's character set does not hold it."""
    description = str(dataset.get("SeriesDescription") or "")
    stated = dataset.get("SpecificCharacterSet") or ""
    if not _holds([stated] if isinstance(stated, str) else list(stated), description):
        dataset.SeriesDescription = plain(description)


def _texts(dataset: Dataset) -> Iterator[str]:
    for element in dataset.iterall():
        if element.VR in TEXT_VRS and element.value and element.keyword != "SeriesDescription":
            single = isinstance(element.value, str | PersonName)
            yield from map(str, [element.value] if single else element.value)


def _holds(terms: Sequence[str], text: str) -> bool:
    """Say whether a character set has every character of a text; none has what stands for a lost one."""
    if text.isascii():
        return True
    encodings = [python_encoding[term] for term in terms if term in python_encoding]
    return _LOST not in text and all(
        any(_encodes(encoding, character) for encoding in encodings) for character in set(text)
    )


def _encodes(encoding: str, character: str) -> bool:
    try:
        return bool(character.encode(encoding))
    except UnicodeError:
        return False


def _is_long_string(text: str) -> bool:
    return bool(text.strip()) and len(text) <= _DESCRIPTION_CHARACTERS and text.isprintable() and "\\" not in text


def _require_defined_terms(terms: Sequence[str]) -> None:
    """Check a value of Specific Character Set (PS3.3 C.12.1.1.2): of several, each has code extensions."""
    known = all(
        term in DEFINED_TERMS or (not term and len(terms) > 1 and place == 0) for place, term in enumerate(terms)
    )
    if not known:
        raise StyleInvalid(
            "the character set has a value that is no defined term of Specific Character Set (0008,0005)"
        )
    if len(terms) > 1 and not all(term.startswith(_EXTENSION) for term in terms if term):
        raise StyleInvalid("of several character sets each must be one with code extensions, as ISO 2022 IR 100")
