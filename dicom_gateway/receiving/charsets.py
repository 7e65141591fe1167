"""Text of received data sets, for the records: decoded as far as it can be, and never a reason to refuse an image."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

from pydicom.charset import decode_bytes, python_encoding

_NOTHING_SAID = "latin_1"
"""Where no character set is named, only ASCII may follow (PS3.5 6.1.2.1); most who write more mean this."""
_NOTHING_KNOWN = "ascii"
_ESCAPE = b"\x1b"
_REPLACEMENT = "\ufffd"
_NO_DELIMITERS: set[int] = set()
_REMEMBERED = 1024
"""Texts that are remembered: the images of a series say the same, one after another."""


class TextNote(StrEnum):
    """What is wrong with the text of a data set, and how it is shown all the same: with U+FFFD for what is not known.

    The file keeps every byte as it came.
    """

    UNKNOWN_SET = "character_set_unknown"
    """(0008,0005) names a set that is not defined (PS3.3 C.12.1.1.2)."""
    CONTRADICTED = "character_set_contradicted"
    """A value holds what the named sets cannot encode, or lacks the escape sequence of the one that can."""


@lru_cache(maxsize=_REMEMBERED)
def decode_text(value: bytes, specific_character_set: bytes, *, longest: int) -> str:
    """Decode one text value by (0008,0005) and return at most ``longest`` characters without control characters.

    What cannot be decoded becomes U+FFFD. ``specific_character_set`` is the raw value, empty for the default one.
    """
    text = _decoded(value, _encodings(_terms(specific_character_set)))
    return "".join(character for character in text if not _is_control(character)).strip()[:longest].rstrip()


def text_note(values: Iterable[bytes], specific_character_set: bytes) -> TextNote | None:
    """Return what is wrong with the text of a data set, or None where it is as (0008,0005) says."""
    terms = _terms(specific_character_set)
    if any(term not in python_encoding for term in terms):
        return TextNote.UNKNOWN_SET
    encodings = tuple(
        _NOTHING_KNOWN if not term else encoding for term, encoding in zip(terms, _encodings(terms), strict=True)
    )
    if any(_REPLACEMENT in _decoded(value, encodings) for value in values):
        return TextNote.CONTRADICTED
    return None


@lru_cache(maxsize=_REMEMBERED)
def _terms(specific_character_set: bytes) -> tuple[str, ...]:
    return tuple(term.strip(" \0") for term in specific_character_set.decode("ascii", errors="replace").split("\\"))


@lru_cache(maxsize=_REMEMBERED)
def _encodings(terms: tuple[str, ...]) -> tuple[str, ...]:
    """Return Python's names of the sets. The default one beside others is taken at its word, alone it seldom is."""
    alone = len(terms) == 1
    return tuple(
        (_NOTHING_SAID if alone else _NOTHING_KNOWN) if not term else python_encoding.get(term, _NOTHING_KNOWN)
        for term in terms
    )


@lru_cache(maxsize=_REMEMBERED)
def _decoded(value: bytes, encodings: tuple[str, ...]) -> str:
    """Decode a value; an escape sequence that leads to no set that was named stays, as U+FFFD and what follows it."""
    text = None
    if _ESCAPE in value:
        try:
            text = decode_bytes(value, list(encodings), _NO_DELIMITERS)
        except (UnicodeError, LookupError, Warning):
            text = None
    if text is None:
        text = value.decode(encodings[0], errors="replace")
    return text.replace("\x1b", _REPLACEMENT)


def _is_control(character: str) -> bool:
    """Say whether a database or a terminal may choke on a character: controls, and halves of a surrogate pair."""
    return unicodedata.category(character) in {"Cc", "Cs"}
