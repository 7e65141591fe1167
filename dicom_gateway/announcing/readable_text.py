"""Text from images and models as receivers can read it: on one line, without anything that cannot be printed."""

from __future__ import annotations

import unicodedata


def readable(text: str, most: int | None = None) -> str:
    """Make one space of what cannot be printed; cut with three dots at ``most`` characters. Letters stay as they are.

    Controls, surrogates, unassigned characters and every kind of space are what cannot be printed.
    """
    kept = "".join(" " if unicodedata.category(letter).startswith(("C", "Z")) else letter for letter in text)
    line = " ".join(kept.split())
    return line if most is None or len(line) <= most else f"{line[: most - 3]}..."
