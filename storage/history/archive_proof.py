"""Proof that many leaves stand in one tree: the hashes of all spans that hold none of them, from left to right.

Leaves of a month lie side by side but for its ends, so that few hashes prove them all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from storage.history.errors import ArchiveWrong
from storage.history.merkle import EMPTY_ROOT, HASH_BYTES, Span, node_hash, split
from storage.history.tiles import Tile

Run = tuple[int, int]
"""First and last leaf number of leaves that follow each other."""


def runs(numbers: Iterable[int]) -> tuple[Run, ...]:
    """Return ascending numbers as runs."""
    found: list[Run] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return tuple(found)


def runs_text(found: Iterable[Run]) -> str:
    """Return runs as they are kept: ``0-1023 1025-1030``."""
    return " ".join(f"{first}-{last}" for first, last in found)


def parse_runs(text: str) -> tuple[Run, ...]:
    """Return the runs that a text spells."""
    pairs = (part.split("-") for part in text.split())
    return tuple((int(first), int(last)) for first, last in pairs)


def outside_spans(numbers: Sequence[int], size: int) -> Iterator[Span]:
    """Yield the largest spans of a tree of ``size`` that hold none of these leaves, from left to right."""
    pending = [(0, size)]
    while pending:
        start, end = pending.pop()
        held = _held(numbers, start, end)
        if held == 0:
            yield start, end
        elif held < end - start:
            middle = start + split(end - start)
            pending += [(middle, end), (start, middle)]


def root(numbers: Sequence[int], hashes: bytes, size: int, outside: Iterable[bytes]) -> bytes:
    """Return the root of the tree of ``size`` that has these leaves, whose hashes stand one after the other.

    ``numbers`` ascend; ``outside`` are the hashes of ``outside_spans``. Raises ArchiveWrong where their count differs.
    """
    rest = iter(outside)
    try:
        found = _Tree(numbers, hashes, rest).root((0, size)) if size else EMPTY_ROOT
    except StopIteration:
        raise ArchiveWrong("the archive holds fewer hashes of the tree than its proof needs") from None
    if next(rest, None) is not None:
        raise ArchiveWrong("the archive holds more hashes of the tree than its proof needs")
    return found


class _Tree:
    """A tree of which some leaves and the hashes of all other spans are known."""

    def __init__(self, numbers: Sequence[int], hashes: bytes, outside: Iterator[bytes]) -> None:
        self._numbers = numbers
        self._hashes = hashes
        self._outside = outside

    def root(self, span: Span) -> bytes:
        """Return the hash over a span."""
        start, end = span
        size = end - start
        held = _held(self._numbers, start, end)
        if held == 0:
            return next(self._outside)
        if held == size and size & (size - 1) == 0:
            place = bisect_left(self._numbers, start) * HASH_BYTES
            return Tile(0, 0, self._hashes[place : place + size * HASH_BYTES]).root()
        middle = start + split(size)
        left = self.root((start, middle))
        return node_hash(left, self.root((middle, end)))


def _held(numbers: Sequence[int], start: int, end: int) -> int:
    return bisect_left(numbers, end) - bisect_left(numbers, start)
