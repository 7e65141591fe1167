"""Pictures that look the same: their difference hashes differ in few bits."""

from __future__ import annotations

HASH_DIGITS = 128
"""A hash has 512 bits: 16 x 16 comparisons of neighbours along the rows, and as many along the columns."""
MOST_BITS = 40
"""Sharpened or brightened copies differed in 20 to 40 bits and a few in more, different patients in 60 and more."""


def hash_of(text: str) -> int | None:
    """Read a hash; None for none, and for the short ones of earlier releases, which cannot be compared."""
    return int(text, 16) if len(text) == HASH_DIGITS else None


def are_alike(first: int, second: int) -> bool:
    """Say whether two pictures count as the same."""
    return (first ^ second).bit_count() <= MOST_BITS
