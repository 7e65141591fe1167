"""Text of received data sets, for the records: decoded as far as it can be, and never a reason to refuse an image."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from pydicom.charset import decode_bytes, python_encoding

_DEFAULT = "iso8859"
_ESCAPE = b"\x1b"
_NO_DELIMITERS: set[int] = set()


def decode_text(value: bytes, specific_character_set: bytes, *, longest: int) -> str:
    """Decode one text value by (0008,0005) and return at most ``longest`` characters without control characters.

    What cannot be decoded becomes U+FFFD. ``specific_character_set`` is the raw value, empty for the default one.
    """
    encodings = _encodings(specific_character_set)
    text = _decoded(value, encodings)
    return "".join(character for character in text if not _is_control(character)).strip()[:longest].rstrip()


def _encodings(specific_character_set: bytes) -> Sequence[str]:
    terms = specific_character_set.decode("ascii", errors="replace").split("\\")
    return [python_encoding.get(term.strip(" \0"), _DEFAULT) for term in terms]


def _decoded(value: bytes, encodings: Sequence[str]) -> str:
    if _ESCAPE in value:
        try:
            return decode_bytes(value, encodings, _NO_DELIMITERS)
        except (UnicodeError, LookupError, Warning):
            return value.decode(_DEFAULT, errors="replace")
    return value.decode(encodings[0], errors="replace")


def _is_control(character: str) -> bool:
    """Say whether a database or a terminal may choke on a character: controls, and halves of a surrogate pair."""
    return unicodedata.category(character) in {"Cc", "Cs"}
