"""Text that every character set of DICOM can hold."""

from __future__ import annotations

import unicodedata

_LONG_STRING_CHARACTERS = 64


def plain(text: str, characters: int = _LONG_STRING_CHARACTERS) -> str:
    """Reduce text to printable ASCII without backslash, which every source's character set can hold, and cut it."""
    decomposed = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    kept = "".join(character for character in decomposed if character.isprintable() and character != "\\")
    return kept.strip()[:characters].strip()
