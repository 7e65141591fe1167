"""Text from images and models as receivers can read it: on one line, without anything that cannot be printed."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"
"""Cannot be seen, and are part of how Persian and Indic names are written."""


def readable(text: str, most: int | None = None) -> str:
    """Make one space of what cannot be printed; cut with three dots at ``most`` characters. Letters stay as they are.

    Controls, surrogates, unassigned characters and every kind of space are what cannot be printed.
    """
    line = " ".join("".join(letter if _is_readable(letter) else " " for letter in text).split())
    return line if most is None or len(line) <= most else f"{line[: most - 3]}..."


def _is_readable(letter: str) -> bool:
    return letter in _JOINERS or not unicodedata.category(letter).startswith(("C", "Z"))
