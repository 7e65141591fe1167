"""Decimal strings of DICOM, read leniently where their meaning is certain: a comma for a point."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


def as_decimals(texts: Iterable[str]) -> tuple[float, ...]:
    """Return texts as numbers, or nothing where any is none."""
    read = []
    for text in texts:
        stripped = text.strip()
        if _NUMBER.fullmatch(stripped) is None:
            return ()
        read.append(float(stripped.replace(",", ".")))
    return tuple(read) if all(map(math.isfinite, read)) else ()
