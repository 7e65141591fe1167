"""The bits of a word that are the pixel's value, and whether the header is right about how many they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.integer[Any]]

_BYTE = 8
_MOST_OVERLAYS = 16
"""Overlays in the unused bits make no more different patterns than this."""
_FEWEST_PAIRS = 16
_SMALL = 0.25
"""A step between neighbours is small up to this share of what the stored bits hold."""
_SOME = 0.1
"""Share of the neighbours on either side of the cut that differ by little: none do by chance, not all do at edges."""
_STRUCTURE = 0.5


def stored_values(words: Words, bits_stored: int, *, signed: bool) -> Words:
    """Return what the low ``bits_stored`` bits of each word say; an overlay or rubbish above them is dropped.

    Some decoders do this and some do not; a word whose upper bits are right already stays what it is.
    """
    unused = words.dtype.itemsize * _BYTE - bits_stored
    if unused <= 0:
        return words
    if not signed:
        return words & words.dtype.type((1 << bits_stored) - 1)
    as_signed = words.astype(f"i{words.dtype.itemsize}", copy=False)
    return (as_signed << unused) >> unused


def carries_more(words: Words, bits_stored: int, *, signed: bool) -> bool:
    """Say whether bits above those stored are part of the image ``[rows, columns]``, so that BitsStored is wrong.

    Where an overlay or rubbish begins, a word jumps by all that the stored bits hold; where an image only grows beyond
    them, neighbours differ by little.
    """
    values = stored_values(words, bits_stored, signed=signed)
    if bits_stored >= words.dtype.itemsize * _BYTE or np.array_equal(values, words):
        return False
    raw = words.view(f"u{words.dtype.itemsize}").astype(np.int64)
    upper = raw >> bits_stored
    if len(np.unique(upper)) > _MOST_OVERLAYS:
        return _has_structure(upper)
    step = np.abs(np.diff(upper, axis=1)) == 1
    smooth = np.abs(np.diff(raw, axis=1))[step] < _SMALL * (1 << bits_stored)
    return bool(smooth.sum() >= _FEWEST_PAIRS and smooth.mean() > _SOME)


def _has_structure(upper: NDArray[np.int64]) -> bool:
    """Say whether neighbours are alike, as those of an image are and rubbish is not."""
    neighbours = float(np.abs(np.diff(upper, axis=1)).mean()) if upper.shape[1] > 1 else 0.0
    typical = float(np.abs(upper - np.median(upper)).mean())
    return neighbours < _STRUCTURE * typical
