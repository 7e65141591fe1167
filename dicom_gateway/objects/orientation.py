"""Which way the rows and columns of a picture run in the patient, in the letters of Patient Orientation."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

# A direction is named by its main axis, and by others that it leans to by more than about nine degrees.
_LEANS = 0.15
_AXES = (("R", "L"), ("A", "P"), ("F", "H"))
"""Letters against and along x, y and z of the patient coordinate system (PS3.3 C.7.6.1.1.1, C.7.6.2.1.1)."""
_OPPOSITE = {letter: pair[1 - place] for pair in _AXES for place, letter in enumerate(pair)}


def letters_of(orientation: Sequence[float]) -> tuple[str, str]:
    """Return Patient Orientation for an Image Orientation (Patient): where rows run to, and where columns do."""
    return _letters(orientation[:3]), _letters(orientation[3:])


def stated_letters(source: Dataset) -> tuple[str, str] | None:
    """Return the Patient Orientation that a header states, or None where it states none that two directions need."""
    stated = source.get("PatientOrientation") or ()
    if isinstance(stated, str) or len(stated) != 2 or not all(stated):  # noqa: PLR2004 - rows and columns
        return None
    row, column = (str(letters).strip().upper() for letters in stated)
    return (row, column) if row and column else None


def opposite(letters: str) -> str:
    """Return the letters of the other way; an empty text where one of them is no direction of a person."""
    turned = [_OPPOSITE.get(letter, "") for letter in letters]
    return "".join(turned) if all(turned) else ""


def _letters(direction: Sequence[float]) -> str:
    named = [(abs(cosine), _AXES[axis][cosine > 0.0]) for axis, cosine in enumerate(direction) if abs(cosine) > _LEANS]
    return "".join(letter for _, letter in sorted(named, key=lambda one: -one[0]))
