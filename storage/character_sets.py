"""Values of Specific Character Set (0008,0005) that would lead a library astray."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

_SAMPLE = "AZaz09^=\\" * 10


def misleads(terms: Iterable[object]) -> bool:
    """Say whether one of the terms of a value names a Python codec that does not leave ASCII as it is.

    pydicom takes what DICOM does not define for the name of a codec. Most writers who do so mean a set that is there
    (UTF-8, ISO-8859-1); ``rot13`` or ``utf-16`` would change every text of the image, or end in an error of no code.
    """
    return any(_changes_ascii(str(term).strip(" \0")) for term in terms)


def _changes_ascii(term: str) -> bool:
    try:
        codecs.lookup(term)
    except (LookupError, ValueError):
        return False
    try:
        return _SAMPLE.encode(term) != _SAMPLE.encode("ascii")
    except (LookupError, ValueError):
        return True
